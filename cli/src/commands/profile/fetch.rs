//! Fetches each node's result of a profile from its agent.

use std::{future::Future, time::Duration};

use futures::{StreamExt, future::join_all};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};
use trilobite_api::profiles::{
    GetProfileRequest, Profile, ProfilePart, ProfileState, WatchProfileRequest, get_profile_response::Content,
    profiles_client::ProfilesClient,
};
use trilobite_crds::node::RESULT_WITHIN;

use crate::{
    agent::{ANSWER_TIMEOUT, Agent, status_text, within_timeout},
    commands::profile_error::ProfileError,
    output::stderr::stderr_line,
};

/// Limit for a node to write its result after the last sample, and for a node to learn of the profile.
const RESULT_TIMEOUT: Duration = RESULT_WITHIN.saturating_add(Duration::from_secs(5));
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before asking a node again that does not know the profile.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// One node's result.
#[derive(Debug)]
pub(super) struct NodeResult {
    pub(super) node: String,
    pub(super) profile: Profile,
    /// Folded stacks.
    pub(super) folded: String,
}

/// Which nodes are asked for a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SearchedNodes {
    /// Those that have sampled, or are about to: one that does not know the profile is waited for, then reported.
    Known,
    /// All: one that does not know the profile was never asked to sample.
    Any,
}

/// Why a node has no result.
enum MissingResult {
    UnknownProfile(String),
    Failed(String),
}

/// The results of all nodes that have one, after the end of a profile that still runs. Nodes without a result are
/// reported on standard error; it is an error if there is none at all.
pub(super) async fn fetch_all(
    agents: &[Agent],
    name: &str,
    searched: SearchedNodes,
) -> Result<Vec<NodeResult>, ProfileError> {
    let mut made = Vec::new();
    let (mut unknown, mut failed) = (Vec::new(), Vec::new());
    let outcomes = join_all(agents.iter().map(|agent| fetch_one(agent, name, searched))).await;
    for (agent, outcome) in agents.iter().zip(outcomes) {
        match outcome {
            Ok(one) => made.push(one),
            Err(MissingResult::UnknownProfile(detail)) => unknown.push(format!("{}: {detail}", agent.name)),
            Err(MissingResult::Failed(detail)) => failed.push(format!("{}: {detail}", agent.name)),
        }
    }
    match searched {
        SearchedNodes::Any if made.is_empty() && failed.is_empty() => {
            let detail = format!("none of {} nodes knows profile {name}; results are kept for an hour", agents.len());
            return Err(ProfileError::NoResult { detail });
        }
        SearchedNodes::Any => {}
        SearchedNodes::Known => failed.append(&mut unknown),
    }
    if made.is_empty() {
        return Err(ProfileError::NoResult { detail: failed.join("; ") });
    }
    failed.iter().for_each(|why| stderr_line!("warning: {why}"));
    Ok(made)
}

async fn fetch_one(agent: &Agent, name: &str, searched: SearchedNodes) -> Result<NodeResult, MissingResult> {
    let mut client = ProfilesClient::new(agent.channel.clone());
    let profile = wait_for_result(&mut client, name, searched).await.map_err(|status| match status.code() {
        Code::NotFound => MissingResult::UnknownProfile(status_text(&status)),
        _ => MissingResult::Failed(status_text(&status)),
    })?;
    if profile.state() == ProfileState::Failed {
        let problem = if profile.problem.is_empty() { "the profile failed".into() } else { profile.problem };
        return Err(MissingResult::Failed(problem));
    }
    read_result(agent, &mut client, name, profile).await.map_err(MissingResult::Failed)
}

async fn read_result(
    agent: &Agent,
    client: &mut ProfilesClient<tonic::transport::Channel>,
    name: &str,
    profile: Profile,
) -> Result<NodeResult, String> {
    let request = GetProfileRequest { name: name.into(), parts: vec![ProfilePart::Folded.into()], wait: false };
    let (mut profile, mut folded) = (profile, Vec::new());
    let mut stream = within_timeout(client.get(request)).await.map_err(|status| status_text(&status))?.into_inner();
    let stuck = |_| "it has stopped in the middle of its answer".to_owned();
    while let Some(response) = timeout(ANSWER_TIMEOUT, stream.next()).await.map_err(stuck)? {
        match response.map_err(|status| status_text(&status))?.content {
            Some(Content::Profile(last)) => profile = last,
            Some(Content::Folded(bytes)) => folded.extend(bytes),
            Some(Content::Svg(_)) | None => {}
        }
    }
    let folded = String::from_utf8(folded).map_err(|_| "its stacks are not UTF-8".to_owned())?;
    let node = if profile.node.is_empty() { agent.name.clone() } else { profile.node.clone() };
    Ok(NodeResult { node, profile, folded })
}

/// Waits until the node has a result, or reports that it has none.
async fn wait_for_result(
    client: &mut ProfilesClient<tonic::transport::Channel>,
    name: &str,
    searched: SearchedNodes,
) -> Result<Profile, Status> {
    let started = Instant::now();
    let may_learn = || searched == SearchedNodes::Known && started.elapsed() < DISCOVERY_TIMEOUT;
    loop {
        match watch_to_end(client, name).await {
            Err(status) if status.code() == Code::NotFound && may_learn() => sleep(RETRY_PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// Watches the profile until it no longer runs.
async fn watch_to_end(client: &mut ProfilesClient<tonic::transport::Channel>, name: &str) -> Result<Profile, Status> {
    let mut stream = within_timeout(client.watch(WatchProfileRequest { name: name.into() })).await?.into_inner();
    let mut result_timeout = ResultTimeout::default();
    while let Some(profile) = result_timeout.within_timeout(stream.next()).await? {
        let profile = profile?;
        if profile.state() != ProfileState::Running {
            return Ok(profile);
        }
        result_timeout.observe(&profile);
    }
    Err(Status::aborted("the agent has stopped before the result was written"))
}

/// A timeout that starts anew with each sample: a profile may run for an hour, writing its result may not take one.
#[derive(Default)]
struct ResultTimeout {
    samples: u64,
    since: Option<Instant>,
}

impl ResultTimeout {
    fn observe(&mut self, profile: &Profile) {
        let sampling = profile.ended.is_none();
        if sampling || profile.samples != self.samples || self.since.is_none() {
            (self.samples, self.since) = (profile.samples, Some(Instant::now()));
        }
    }

    async fn within_timeout<T>(&self, what: impl Future<Output = T>) -> Result<T, Status> {
        let gone = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let left = RESULT_TIMEOUT.saturating_sub(gone);
        timeout(left, what).await.map_err(|_| Status::deadline_exceeded("its result was not written within a minute"))
    }
}
