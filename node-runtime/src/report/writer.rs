//! Writes a node's status: when something changed, at most every two seconds (counts alone: every five), never as a heartbeat.

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
use trilobite_crds::node::{NodeRuntime, NodeRuntimeStatus};
use trilobite_patience::Patience;

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

/// What was written last: to which object, when, and what.
struct Written {
    uid: String,
    at: Instant,
    status: NodeRuntimeStatus,
}

/// Writes what `snapshots` says until its sender is gone. A write that fails is tried again with what is true by then.
/// Nothing is written before the object is known, nor after it is gone.
pub async fn run(client: Client, node: String, facts: Arc<Facts>, mut snapshots: watch::Receiver<Option<Snapshot>>) {
    let runtimes: Api<NodeRuntime> = Api::all(client);
    let mut written: Option<Written> = None;
    let mut patience = Patience::between(BETWEEN_WRITES, LONGEST_WAIT);
    while snapshots.changed().await.is_ok() {
        loop {
            sleep(COALESCE).await;
            let Some(snapshot) = snapshots.borrow_and_update().clone() else { break };
            let Some(uid) = snapshot.uid.clone() else { break };
            // An object that was made again has no status, whatever the one before it had.
            let before = written.as_ref().filter(|before| before.uid == uid);
            let standing = before.map(|before| before.status.conditions.as_slice()).unwrap_or_default();
            let wanted = status(&snapshot, &facts, standing, Timestamp::now());
            if before.is_some_and(|before| before.status == wanted) {
                break;
            }
            if let Some(due) = before.map(|before| before.at + between(&before.status, &wanted))
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
                    written = Some(Written { uid, at: Instant::now(), status: wanted });
                    patience.reset();
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "writing the node's status; trying again");
                    sleep(patience.wait()).await;
                }
            }
        }
    }
}

/// How long `after` may wait for its turn: counts go up all the time, and nobody acts on one of them.
fn between(before: &NodeRuntimeStatus, after: &NodeRuntimeStatus) -> Duration {
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
    status
}

/// With the uid, an object that was made again meanwhile is not told what holds of the one before it.
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
        let session = SessionStatus { name: "hot".into(), expires_at: None, state, records, lost: 0 };
        NodeRuntimeStatus { sessions: vec![session], ..NodeRuntimeStatus::default() }
    }

    #[test]
    fn a_status_is_for_the_object_that_it_was_made_for_and_no_other_of_its_name() {
        let patch = patch("reef", "u1", &NodeRuntimeStatus::default());
        assert_eq!(patch["metadata"], json!({"name": "reef", "uid": "u1"}));
    }

    #[test]
    fn more_samples_wait_longer_than_the_end_of_a_session() {
        let before = running(SessionState::Running, 10);
        assert_eq!(between(&before, &running(SessionState::Running, 99)), BETWEEN_COUNTS);
        assert_eq!(between(&before, &running(SessionState::Completed, 99)), BETWEEN_WRITES);
    }
}
