//! What a pod's status says, in one word and one sentence: why it is not ready now, not why it once was not.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use kube::ResourceExt;

/// The state of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodState {
    pub(super) ready: bool,
    /// `Running`, or the kubelet's or the scheduler's word: `ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`...
    pub(super) reason: String,
    /// Empty where the reason says everything.
    pub(super) message: String,
    pub(super) restarts: i32,
}

pub(super) fn pod_state(pod: &Pod) -> PodState {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let restarts = containers.iter().map(|container| container.restart_count).sum();
    let state = |reason: &str, message: String| PodState { ready: false, reason: reason.into(), message, restarts };
    if pod.metadata.deletion_timestamp.is_some() {
        return state("Terminating", String::new());
    }
    if is_true(condition(&status, "Ready")) {
        return PodState { ready: true, reason: "Running".into(), message: String::new(), restarts };
    }
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    if let Some((reason, message)) = init.iter().chain(containers).find_map(|container| waiting(pod, container)) {
        return state(&reason, message);
    }
    if let Some(scheduled) = condition(&status, "PodScheduled").filter(|scheduled| scheduled.status == "False") {
        let reason = scheduled.reason.as_deref().unwrap_or("Unschedulable");
        return state(reason, scheduled.message.clone().unwrap_or_default());
    }
    let phase = status.phase.as_deref().unwrap_or("Unknown");
    if let Some(reason) = status.reason.as_deref().filter(|_| phase != "Running") {
        return state(reason, status.message.clone().unwrap_or_default());
    }
    match phase {
        "Running" => state("NotReady", containers.iter().find_map(|one| last_end(pod, one)).unwrap_or_default()),
        phase => state(phase, String::new()),
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.as_deref().unwrap_or_default().iter().find(|condition| condition.type_ == kind)
}

fn is_true(condition: Option<&PodCondition>) -> bool {
    condition.is_some_and(|condition| condition.status == "True")
}

/// Why a container does not run, and what ended its last run.
fn waiting(pod: &Pod, container: &ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone().filter(|reason| reason != "PodInitializing")?;
    let said = waiting.message.clone().unwrap_or_default();
    let message = match last_end(pod, container) {
        Some(end) if said.is_empty() || reason == "CrashLoopBackOff" => end,
        Some(end) => format!("{said}; {end}"),
        None => said,
    };
    Some((reason, message))
}

/// `its last run ended with OOMKilled (exit code 137); its memory limit is 64Mi`
fn last_end(pod: &Pod, container: &ContainerStatus) -> Option<String> {
    let end = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = end.reason.as_deref().unwrap_or("Error");
    let mut text = format!("its last run ended with {reason} (exit code {})", end.exit_code);
    if reason == "OOMKilled"
        && let Some(limit) = memory_limit(pod, &container.name)
    {
        text.push_str(&format!("; its memory limit is {limit}"));
    }
    Some(text)
}

fn memory_limit(pod: &Pod, container: &str) -> Option<String> {
    let container = pod.spec.as_ref()?.containers.iter().find(|one| one.name == container)?;
    Some(container.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}

/// The pod that speaks for a node or a Deployment: a ready one, or else one that is not being deleted.
pub(super) fn most_telling<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<(&'a Pod, PodState)> {
    let states = pods.map(|pod| (pod, pod_state(pod)));
    states.min_by_key(|(pod, state)| (!state.ready, state.reason == "Terminating", pod.name_any()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &str) -> Pod {
        let text = format!(
            "{{metadata: {{name: trilobite-node-x}}, spec: {{containers: [{{name: agent, resources: {{limits: {{memory: 64Mi}}}}}}]}}, status: {status}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn container(state: &str) -> String {
        format!("{{name: agent, image: i, imageID: '', ready: false, restartCount: 3, {state}}}")
    }

    #[test]
    fn cause_of_now_is_named_with_what_ended_the_last_run() {
        let oom = "state: {waiting: {reason: CrashLoopBackOff, message: back-off 40s}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}";
        let state = pod_state(&pod(&format!("{{phase: Running, containerStatuses: [{}]}}", container(oom))));
        assert_eq!((state.reason.as_str(), state.restarts), ("CrashLoopBackOff", 3));
        assert_eq!(state.message, "its last run ended with OOMKilled (exit code 137); its memory limit is 64Mi");
    }

    #[test]
    fn image_that_cannot_be_pulled_is_named() {
        let image = "state: {waiting: {reason: ImagePullBackOff, message: Back-off pulling image i}}";
        let state = pod_state(&pod(&format!("{{phase: Pending, containerStatuses: [{}]}}", container(image))));
        assert_eq!((state.ready, state.reason.as_str()), (false, "ImagePullBackOff"));
        assert_eq!(state.message, "Back-off pulling image i");
    }

    #[test]
    fn pod_without_a_node_says_what_the_scheduler_says() {
        let status = "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: no node}]}";
        let state = pod_state(&pod(status));
        assert_eq!((state.reason.as_str(), state.message.as_str()), ("Unschedulable", "no node"));
    }

    #[test]
    fn ready_pod_speaks_before_one_that_ends() {
        let ready = pod("{phase: Running, conditions: [{type: Ready, status: 'True'}]}");
        let mut ending = pod("{phase: Running}");
        ending.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let (_, state) = most_telling([&ending, &ready].into_iter()).unwrap();
        assert!(state.ready);
    }
}
