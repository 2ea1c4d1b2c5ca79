//! Writes the NodeRuntime's status: on a change only, at most every two seconds (counts alone: every five); never as a heartbeat.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use trilobite_backoff::ExponentialBackoff;
use trilobite_crds::node::{NodeRuntime, NodeRuntimeStatus};

use super::status::{Snapshot, status};
use crate::kernel::Facts;

/// The field manager of the status; the operator owns the spec by another.
const FIELD_MANAGER: &str = "trilobite-node";
/// Changes within this time become one write.
const COALESCE: Duration = Duration::from_millis(200);
/// Least time between two writes.
const BETWEEN_WRITES: Duration = Duration::from_secs(2);
/// Least time between two writes of which the second has new counts and nothing else.
const BETWEEN_COUNTS: Duration = Duration::from_secs(5);
/// The longest wait after a refused write; the first is `BETWEEN_WRITES`.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// The last write: the object's uid, when, and the status.
struct Written {
    uid: String,
    at: Instant,
    status: NodeRuntimeStatus,
    /// `Snapshot::status_overwritten` at that time.
    overwritten: u64,
}

impl Written {
    /// Whether the API server still has this status.
    fn is_current(&self, wanted: &NodeRuntimeStatus, overwritten: u64) -> bool {
        self.status == *wanted && self.overwritten == overwritten
    }
}

/// Writes the status of each snapshot until the sender is dropped. A failed write is repeated with the newest snapshot. Nothing is
/// written before the object is known, nor after it is gone.
pub async fn write_statuses(
    client: Client,
    node: String,
    facts: Arc<Facts>,
    mut snapshots: watch::Receiver<Option<Snapshot>>,
) {
    let runtimes: Api<NodeRuntime> = Api::all(client);
    let mut written: Option<Written> = None;
    let mut backoff = ExponentialBackoff::between(BETWEEN_WRITES, LONGEST_WAIT);
    while snapshots.changed().await.is_ok() {
        loop {
            sleep(COALESCE).await;
            let Some(snapshot) = snapshots.borrow_and_update().clone() else { break };
            let Some(uid) = snapshot.uid.clone() else { break };
            // A recreated object has no status yet, whatever its predecessor had.
            let before = written.as_ref().filter(|before| before.uid == uid);
            let previous = before.map(|before| before.status.conditions.as_slice()).unwrap_or_default();
            let wanted = status(&snapshot, &facts, previous, Timestamp::now());
            let overwritten = snapshot.status_overwritten;
            if before.is_some_and(|before| before.is_current(&wanted, overwritten)) {
                break;
            }
            if let Some(due) = before.map(|before| before.at + least_delay(&before.status, &wanted))
                && due > Instant::now()
            {
                tokio::select! {
                    () = sleep_until(due) => {}
                    changed = snapshots.changed() => if changed.is_err() { return },
                }
                continue;
            }
            match write(&runtimes, &node, &uid, &wanted).await {
                Ok(()) => {
                    written = Some(Written { uid, at: Instant::now(), status: wanted, overwritten });
                    backoff.reset();
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "writing the node's status; trying again");
                    sleep(backoff.next_delay()).await;
                }
            }
        }
    }
}

/// The least delay before `after`: counts change all the time, and a single change matters to no reader.
fn least_delay(before: &NodeRuntimeStatus, after: &NodeRuntimeStatus) -> Duration {
    if without_counts(before) == without_counts(after) { BETWEEN_COUNTS } else { BETWEEN_WRITES }
}

fn without_counts(status: &NodeRuntimeStatus) -> NodeRuntimeStatus {
    let mut status = status.clone();
    for session in &mut status.sessions {
        (session.records, session.lost) = (0, 0);
    }
    for loss in &mut status.losses {
        loss.count = 0;
    }
    status.pods_selected.clear();
    status
}

/// The uid makes the API server refuse the patch when the object was recreated meanwhile.
fn patch(node: &str, uid: &str, status: &NodeRuntimeStatus) -> Value {
    json!({
        "apiVersion": "trilobite.dev/v1alpha1",
        "kind": "NodeRuntime",
        "metadata": { "name": node, "uid": uid },
        "status": status,
    })
}

async fn write(
    runtimes: &Api<NodeRuntime>,
    node: &str,
    uid: &str,
    status: &NodeRuntimeStatus,
) -> Result<(), kube::Error> {
    let patch = patch(node, uid, status);
    runtimes.patch_status(node, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(patch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{SessionState, SessionStatus};

    use super::*;

    fn running(state: SessionState, records: i64) -> NodeRuntimeStatus {
        let session = SessionStatus { name: "hot".into(), expires_at: None, state, records, lost: 0, requests: None };
        NodeRuntimeStatus { sessions: vec![session], ..NodeRuntimeStatus::default() }
    }

    #[test]
    fn patch_names_the_uid_of_the_object() {
        let patch = patch("reef", "u1", &NodeRuntimeStatus::default());
        assert_eq!(patch["metadata"], json!({"name": "reef", "uid": "u1"}));
    }

    #[test]
    fn unchanged_status_is_written_again_after_it_was_overwritten() {
        let status = running(SessionState::Running, 10);
        let written = Written { uid: "u1".into(), at: Instant::now(), status: status.clone(), overwritten: 0 };
        assert!(written.is_current(&status, 0));
        assert!(!written.is_current(&status, 1));
    }

    #[test]
    fn new_counts_wait_longer_than_a_new_state() {
        let before = running(SessionState::Running, 10);
        assert_eq!(least_delay(&before, &running(SessionState::Running, 99)), BETWEEN_COUNTS);
        assert_eq!(least_delay(&before, &running(SessionState::Completed, 99)), BETWEEN_WRITES);
    }
}
