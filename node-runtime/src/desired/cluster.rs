//! The desired state from the API server: this node's NodeRuntime, watched by name, and the NodeProfile it points at. Nothing
//! that users write is watched.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use trilobite_backoff::ExponentialBackoff;
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::NodeRuntime,
};

use super::{DesiredUpdate, Update, fetch::ProfileFetcher};
use crate::problem::Problem;

/// Shortest and longest delay after a profile that could not be fetched.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));
/// Failed fetches in a row before the status says so: a part may not have been created yet.
const FAILURES_BEFORE_REPORT: u32 = 2;
/// How long a stopping agent waits for the API server to say whether its NodeRuntime still exists.
const SHUTDOWN_QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// Watches the NodeRuntime `node` and sends each desired state, until the receiver is dropped. While the API server is away, or
/// a part is missing, nothing is sent: the active state stays.
pub async fn follow(client: Client, node: String, updates: mpsc::Sender<DesiredUpdate>) {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    let mut fetcher = ProfileFetcher::new(client);
    let mut objects = watcher::watch_object(runtimes, &node).backoff(trilobite_backoff::watch_backoff()).boxed();
    let mut state = FetchState::default();
    loop {
        let update = tokio::select! {
            object = objects.next() => match object {
                Some(Ok(Some(runtime))) => {
                    let overwritten = is_ready_unknown(&runtime);
                    state.observe(runtime, Instant::now());
                    if !overwritten {
                        continue;
                    }
                    Some(DesiredUpdate::StatusOverwritten)
                }
                Some(Ok(None)) => {
                    tracing::info!(%node, "this node has no NodeRuntime: nothing is desired");
                    state = FetchState::default();
                    Some(DesiredUpdate::Removed)
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "watching the NodeRuntime failed; the active state stays");
                    continue;
                }
                None => return,
            },
            () = sleep_until(state.due), if state.waiting.is_some() => state.fetch(&mut fetcher).await,
        };
        if let Some(update) = update
            && updates.send(update).await.is_err()
        {
            return;
        }
    }
}

/// Whether the NodeRuntime is gone; false when the API server does not answer in time.
pub async fn is_gone(client: &Client, node: &str) -> bool {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    matches!(timeout(SHUTDOWN_QUERY_TIMEOUT, runtimes.get_opt(node)).await, Ok(Ok(None)))
}

/// An agent never reports Unknown: it is what the operator writes about an agent that is silent.
fn is_ready_unknown(runtime: &NodeRuntime) -> bool {
    let conditions = runtime.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, ConditionType::Ready).is_some_and(|ready| ready.status == ConditionStatus::Unknown)
}

/// Uid and generation: the agent's own status writes change neither.
type Version = (String, i64);

fn version(runtime: &NodeRuntime) -> Version {
    (runtime.metadata.uid.clone().unwrap_or_default(), runtime.metadata.generation.unwrap_or_default())
}

/// Between observing a NodeRuntime and having fetched its profile.
struct FetchState {
    waiting: Option<NodeRuntime>,
    due: Instant,
    backoff: ExponentialBackoff,
    failures: u32,
    resolved: Option<Version>,
}

impl Default for FetchState {
    fn default() -> Self {
        Self {
            waiting: None,
            due: Instant::now(),
            backoff: ExponentialBackoff::between(RETRY_DELAYS.0, RETRY_DELAYS.1),
            failures: 0,
            resolved: None,
        }
    }
}

impl FetchState {
    /// A newer object replaces an older one that is still waiting, since its profile may be gone; the same version changes nothing.
    fn observe(&mut self, runtime: NodeRuntime, now: Instant) {
        let version = version(&runtime);
        let known = self.waiting.as_ref().map(self::version).or_else(|| self.resolved.clone());
        if known.as_ref() == Some(&version) {
            return;
        }
        (self.waiting, self.due, self.failures) = (Some(runtime), now, 0);
        self.backoff.reset();
    }

    async fn fetch(&mut self, fetcher: &mut ProfileFetcher) -> Option<DesiredUpdate> {
        let runtime = self.waiting.take()?;
        match fetcher.resolve(&runtime).await {
            Ok(desired) => {
                let (uid, generation) = version(&runtime);
                self.resolved = Some((uid.clone(), generation));
                Some(DesiredUpdate::Changed(Update { desired: Arc::new(desired), generation, uid: Some(uid) }))
            }
            Err(error) => {
                tracing::warn!(%error, "fetching the profile failed; the active state stays");
                self.record_failure(runtime, error.to_string(), Instant::now())
            }
        }
    }

    /// Reports once per object, and not at the first failure.
    fn record_failure(&mut self, runtime: NodeRuntime, detail: String, now: Instant) -> Option<DesiredUpdate> {
        let (uid, _) = version(&runtime);
        self.waiting = Some(runtime);
        self.due = now + self.backoff.next_delay();
        self.failures += 1;
        (self.failures == FAILURES_BEFORE_REPORT)
            .then_some(DesiredUpdate::Unavailable { uid, problem: Problem::PartUnavailable { detail } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, generation: i64) -> NodeRuntime {
        let mut object = NodeRuntime::default();
        (object.metadata.uid, object.metadata.generation) = (Some(uid.into()), Some(generation));
        object
    }

    fn resolved(object: &NodeRuntime) -> FetchState {
        FetchState { resolved: Some(version(object)), ..FetchState::default() }
    }

    #[test]
    fn status_write_of_the_agent_is_ignored() {
        let mut state = resolved(&object("a", 3));
        state.observe(object("a", 3), Instant::now());
        assert!(state.waiting.is_none());
        state.observe(object("a", 4), Instant::now());
        assert!(state.waiting.is_some());
    }

    #[test]
    fn only_an_unknown_readiness_is_an_overwritten_status() {
        let with_ready = |status: &str| {
            let ready = serde_json::json!({"type": "Ready", "status": status, "reason": "AgentSilent",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let mut runtime = object("a", 1);
            runtime.status = serde_json::from_value(serde_json::json!({"conditions": [ready]})).unwrap();
            is_ready_unknown(&runtime)
        };
        assert!(with_ready("Unknown"));
        assert!(!with_ready("False") && !with_ready("True") && !is_ready_unknown(&object("a", 1)));
    }

    #[test]
    fn recreated_object_counts_at_the_same_generation() {
        let mut state = resolved(&object("a", 1));
        state.observe(object("b", 1), Instant::now());
        assert!(state.waiting.is_some());
    }

    #[test]
    fn newest_object_replaces_a_waiting_one() {
        let mut state = resolved(&object("a", 1));
        state.observe(object("a", 2), Instant::now());
        state.observe(object("a", 3), Instant::now());
        assert_eq!(state.waiting.as_ref().map(version), Some(("a".into(), 3)));
    }

    #[test]
    fn missing_profile_is_reported_once_at_the_second_failure() {
        let mut state = FetchState::default();
        let now = Instant::now();
        let reported: Vec<bool> =
            (0..4).map(|_| state.record_failure(object("a", 1), "gone".into(), now).is_some()).collect();
        assert_eq!(reported, [false, true, false, false]);
    }

    #[test]
    fn status_write_does_not_delay_the_next_fetch() {
        let mut state = FetchState::default();
        let now = Instant::now();
        state.record_failure(object("a", 1), "gone".into(), now);
        let due = state.due;
        state.observe(object("a", 1), now + Duration::from_secs(1));
        assert_eq!((state.due, state.failures), (due, 1));
    }
}
