//! The agent without a cluster: what the files ask, on this machine, until it is interrupted.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::node::Node;
use crate::{
    args::RunArguments,
    desired::{Update, files},
    export::lines::Lines,
    layers::{UnitState, application::Meta},
};

/// Runs until SIGINT or SIGTERM. Events go to standard output, everything else to standard error.
pub(super) async fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    let resources = files::read(&arguments.files)?;
    let mut node = Node::assemble(&arguments.common, false).await?;
    let lines = Lines::stdout("profiles", &node.context.ledger);
    node.profiles.results().tell(Box::new(move |meta| tell(&lines, meta)));
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

/// One line for each profile that is made: what it is about. The profile itself is fetched through the socket. Whoever reads
/// standard output slowly, or not at all, holds up nothing.
fn tell(lines: &Lines, meta: &Meta) {
    lines.write((serde_json::json!({ "cpu_profile": meta }).to_string() + "\n").as_bytes());
}
