//! The result of a profile by the read API, which merges the nodes' results.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use trilobite_api::profiles::Profile;
use trilobite_crds::node::RESULT_WITHIN;

use super::{
    live::LiveCounts,
    merged::MergedProfile,
    request::ProfileRequest,
    wait::{not_fetched, wait_for_end},
};
use crate::{
    commands::{failure::Failure, profile_error::ProfileError},
    output::stderr::stderr_line,
    read_api::{FoldedAnswer, ReadApi},
};

/// How long nodes may take to write their results.
const RESULT_TIMEOUT: Duration = RESULT_WITHIN.saturating_add(Duration::from_secs(5));
/// Interval of reading the counts of a running profile, and of asking again for a result.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Waits until the profile has ended, and fetches its result.
pub(super) async fn wait_and_fetch(
    client: &kube::Client,
    api: &ReadApi,
    request: &ProfileRequest,
) -> Result<MergedProfile, Failure> {
    let live = LiveCounts::default();
    let sampling = tokio::select! {
        sampling = wait_for_end(client, request, &live) => sampling?,
        () = follow_counts(api, request, &live) => 0,
    };
    let deadline = Instant::now() + RESULT_TIMEOUT;
    let folded = loop {
        match api.folded(&request.namespace, &request.name).await? {
            FoldedAnswer::Text(text) => break text,
            FoldedAnswer::Running if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
            FoldedAnswer::Running => {
                let detail = format!("the nodes have not written it within {} s", RESULT_TIMEOUT.as_secs());
                return Err(ProfileError::NoResult { detail }.into());
            }
            FoldedAnswer::Missing(detail) => return Err(ProfileError::NoResult { detail }.into()),
        }
    };
    let state = api.profile(&request.namespace, &request.name).await?.unwrap_or_default();
    let profiles: Vec<Profile> = state.nodes.into_iter().map(Profile::from).collect();
    if let Some(warning) = not_fetched(profiles.len(), sampling, request) {
        stderr_line!("warning: {warning}");
    }
    Ok(MergedProfile::from_read_api(profiles, &folded)?)
}

/// Reads the counts so far, for ever. Failures are not reported: the result is fetched later.
async fn follow_counts(api: &ReadApi, request: &ProfileRequest, live: &LiveCounts) {
    loop {
        if let Ok(Some(state)) = api.profile(&request.namespace, &request.name).await {
            live.set(state.samples, state.lost);
        }
        sleep(POLL_INTERVAL).await;
    }
}
