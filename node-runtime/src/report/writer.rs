//! Writes a node's status: when something changed, at most every two seconds, never as a heartbeat.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::watch;
use trilobite_crds::node::{NodeRuntime, NodeRuntimeStatus};

use super::status::{Snapshot, status};
use crate::kernel::Facts;

/// The field manager of the status; the operator owns the spec by another.
const FIELD_MANAGER: &str = "trilobite-node";
/// Changes within this time become one write.
const COALESCE: Duration = Duration::from_millis(200);
/// Least time between two writes.
const BETWEEN_WRITES: Duration = Duration::from_secs(2);
/// Longest pause after a refused write; it doubles from `BETWEEN_WRITES`.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Writes what `snapshots` says until its sender is gone. A write that fails is tried again with what is true by then.
pub async fn run(client: Client, node: String, facts: Arc<Facts>, mut snapshots: watch::Receiver<Option<Snapshot>>) {
    let runtimes: Api<NodeRuntime> = Api::all(client);
    let mut written: Option<NodeRuntimeStatus> = None;
    let mut pause = BETWEEN_WRITES;
    while snapshots.changed().await.is_ok() {
        loop {
            tokio::time::sleep(COALESCE).await;
            let Some(snapshot) = snapshots.borrow_and_update().clone() else { break };
            let standing = written.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let wanted = status(&snapshot, &facts, standing, Timestamp::now());
            if written.as_ref() == Some(&wanted) {
                break;
            }
            match write(&runtimes, &node, &wanted).await {
                Ok(()) => {
                    written = Some(wanted);
                    pause = BETWEEN_WRITES;
                    tokio::time::sleep(pause).await;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "writing the node's status; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

async fn write(runtimes: &Api<NodeRuntime>, node: &str, status: &NodeRuntimeStatus) -> Result<(), kube::Error> {
    let patch = json!({
        "apiVersion": "trilobite.dev/v1alpha1",
        "kind": "NodeRuntime",
        "metadata": { "name": node },
        "status": status,
    });
    runtimes.patch_status(node, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(patch)).await.map(drop)
}
