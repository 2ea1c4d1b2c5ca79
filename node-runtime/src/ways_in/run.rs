//! The agent without a cluster: what the files ask, on this machine, until it is interrupted.

use std::{
    io::{self, Write},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::node::Node;
use crate::{
    args::RunArguments,
    desired::{Update, files},
    layers::{UnitState, application::Meta},
};

/// Runs until SIGINT or SIGTERM. Events go to standard output, everything else to standard error.
pub(super) async fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    let resources = files::read(&arguments.files)?;
    let mut node = Node::assemble(&arguments.common, false).await?;
    node.profiles.results().tell(Box::new(tell));
    // Only now: on a slow machine it takes longer to assemble a node than a short session lasts.
    let (mut desired, refusals) = files::plan(&resources, Timestamp::now());
    for refusal in &refusals {
        tracing::error!(resource = %refusal.source, reason = refusal.reason.as_str(), field = %refusal.field, "{}", refusal.message);
    }
    desired.export.stdout = true;
    node.take(Update { desired: Arc::new(desired), generation: 1, uid: None }).await;
    for unit in node.runtime.snapshot(Timestamp::now()).units.values() {
        match &unit.state {
            UnitState::InForce { notes } => {
                tracing::info!(resource = %unit.source, "in force");
                for note in notes {
                    tracing::warn!(resource = %unit.source, reason = note.reason().as_str(), "{}", note.message());
                }
            }
            UnitState::Refused(problem) => {
                tracing::error!(resource = %unit.source, reason = problem.reason().as_str(), "{}", problem.message());
            }
        }
    }
    let (_sender, news) = mpsc::channel(1);
    node.run(news).await
}

/// One line for each profile that is made: what it is about. The profile itself is fetched through the socket.
fn tell(meta: &Meta) {
    let line = serde_json::json!({ "cpu_profile": meta }).to_string() + "\n";
    if let Err(error) = io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush()) {
        tracing::warn!(%error, profile = meta.name, "standard output");
    }
}
