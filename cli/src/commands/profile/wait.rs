//! Waits for the end of an AppProfile's sampling, then fetches the results of its nodes.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use tokio::time::sleep;
use trilobite_crds::{
    AppProfile,
    condition::{Condition, ConditionStatus, ConditionType},
};

use super::{
    fetch::{NodeResult, SearchedNodes, fetch_all},
    live::LiveCounts,
    progress::{Step, step},
    request::{ProfileRequest, current_nodes},
};
use crate::{
    agent::{Agent, Transport},
    cluster::ClusterError,
    commands::{agents::connect, failure::Failure, profile_error::ProfileError},
    output::stderr::stderr_line,
    report,
};

/// Interval of reading the AppProfile.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn wait_and_fetch(
    client: &Client,
    transport: &Transport,
    request: &ProfileRequest,
) -> Result<Vec<NodeResult>, Failure> {
    let live = LiveCounts::default();
    let name = request.to_string();
    let sampling = tokio::select! {
        sampling = wait_for_end(client, request, &live) => sampling?,
        () = live.follow(transport, &request.nodes, &name) => 0,
    };
    let agents = connect_nodes(transport, current_nodes(client, request).await).await?;
    let results = fetch_all(&agents, &request.to_string(), SearchedNodes::Known).await?;
    if let Some(warning) = not_fetched(results.len(), sampling, request) {
        stderr_line!("warning: {warning}");
    }
    Ok(results)
}

/// The agents of these nodes, at least one; the others are warned about.
pub(super) async fn connect_nodes(transport: &Transport, nodes: BTreeSet<String>) -> Result<Vec<Agent>, ProfileError> {
    let mut agents = Vec::new();
    for node in nodes {
        match connect(transport, Some(&node)).await {
            Ok(found) => agents.extend(found),
            Err(error) => stderr_line!("warning: {error}"),
        }
    }
    if agents.is_empty() {
        return Err(ProfileError::NoResult { detail: "no agent of its nodes could be reached (see above)".into() });
    }
    Ok(agents)
}

/// A warning if more nodes have sampled than results were fetched.
pub(super) fn not_fetched(fetched: usize, sampling: usize, request: &ProfileRequest) -> Option<String> {
    let missing = sampling.checked_sub(fetched).filter(|missing| *missing > 0)?;
    Some(format!(
        "{missing} of the {sampling} nodes that sampled are missing from the flame graph: their results could not be fetched, or \
         their pods have gone; the agent's socket on such a node serves profile {request} for an hour"
    ))
}

/// Waits until sampling has ended; returns the number of nodes that sampled, as far as the status says. Survives an API
/// server that is away for a moment.
pub(super) async fn wait_for_end(
    client: &Client,
    request: &ProfileRequest,
    live: &LiveCounts,
) -> Result<usize, Failure> {
    let profiles: Api<AppProfile> = Api::namespaced(client.clone(), &request.namespace);
    let mut shown = String::new();
    loop {
        let now = Timestamp::now();
        match profiles.get_opt(&request.name).await {
            Ok(None) => return Err(ProfileError::Gone { name: request.to_string() }.into()),
            Ok(Some(profile)) => match step(&profile, request.created, now, live.sum()) {
                Step::Ended => {
                    conditions(&profile).for_each(|condition| stderr_line!("  {condition}"));
                    let results = profile.status.and_then(|status| status.results).unwrap_or_default();
                    return Ok(usize::try_from(results.nodes).unwrap_or_default());
                }
                Step::Failed { reason, message } => {
                    let describe =
                        format!("see 'kubectl describe appprofiles -n {} {}'", request.namespace, profile.name_any());
                    let next = report::next(&reason, &describe, &request.trilobite_namespace);
                    return Err(ProfileError::Refused { reason, message, next }.into());
                }
                Step::Waiting(text) | Step::Running(text) => print_change(&mut shown, text),
            },
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let doing = format!("read appprofile {request}");
                return Err(ClusterError::new(doing, "appprofiles", kube::Error::Api(status)).into());
            }
            Err(error) if now.duration_since(request.created) > request.api_timeout => {
                return Err(ClusterError::new(format!("read appprofile {request}"), "appprofiles", error).into());
            }
            Err(_) => print_change(&mut shown, "the API server does not answer; trying again".into()),
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// What the profile's conditions say at its end: whether it is complete, and what did not work.
fn conditions(profile: &AppProfile) -> impl Iterator<Item = String> {
    let conditions = profile.status.iter().flat_map(|status| &status.common.conditions);
    let shown = conditions.filter(|condition| match condition.r#type {
        ConditionType::Completed => true,
        ConditionType::Degraded => condition.status == ConditionStatus::True,
        _ => false,
    });
    shown.map(|Condition { r#type, status, reason, message, .. }| {
        format!("{:?}={status:?} ({reason}): {message}", r#type)
    })
}

/// One line for each change, which reads well in a log too.
fn print_change(shown: &mut String, text: String) {
    if *shown != text {
        stderr_line!("  {text}");
        *shown = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_at_the_end_are_shown_with_their_reasons() {
        let time = "lastTransitionTime: \"1970-01-01T00:00:00Z\"";
        let profile: AppProfile = serde_yaml::from_str(&format!(
            "{{metadata: {{name: p}}, spec: {{podSelector: {{}}, cpu: {{}}}}, status: {{conditions: [
                {{type: Ready, status: \"True\", reason: Active, message: all, {time}}},
                {{type: Degraded, status: \"True\", reason: WorkerFailed, message: \"birch: killed\", {time}}},
                {{type: Completed, status: \"True\", reason: DurationElapsed, message: over, {time}}}]}}}}"
        ))
        .unwrap();
        let expected = ["Degraded=True (WorkerFailed): birch: killed", "Completed=True (DurationElapsed): over"];
        assert_eq!(conditions(&profile).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nodes_without_a_fetched_result_are_reported() {
        let request = ProfileRequest::for_test("shop", "cli-till");
        assert_eq!(not_fetched(2, 2, &request), None);
        assert_eq!(not_fetched(2, 0, &request), None);
        let warning = not_fetched(1, 3, &request).unwrap();
        assert!(warning.starts_with("2 of the 3 nodes") && warning.contains("shop/cli-till"), "{warning}");
    }
}
