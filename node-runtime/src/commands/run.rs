//! `trilobite-node run`: the agent without a cluster. Applies the resources of files on this machine until it is interrupted.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    agent::Agent,
    args::RunArguments,
    desired::{Update, files},
    export::line_queue::LineQueue,
    layers::application::ProfileMeta,
    plan::UnitState,
    serve::requests::write_lines,
};

/// Returns after SIGINT or SIGTERM. Events go to standard output, logs to standard error.
pub(super) async fn run_from_files(arguments: &RunArguments) -> anyhow::Result<()> {
    let resources = files::read(&arguments.files)?;
    let mut agent = Agent::new(&arguments.common, false).await?;
    agent.restore_processes();
    let lines = LineQueue::stdout("profiles", &agent.context.ledger);
    agent.profiles.results().on_stored(move |meta| print_profile(&lines, meta));
    let lines = LineQueue::stdout("requests", &agent.context.ledger);
    let (rows, names) = (agent.request_rows.clone(), agent.request_names.clone());
    tokio::spawn(write_lines(rows, names, agent.context.ledger.clone(), move |line| lines.write(line)));
    // Planned after the agent was assembled: on a slow machine that takes longer than a short session lasts.
    let (mut desired, refusals) = files::plan(&resources, Timestamp::now());
    drop(resources);
    for refusal in &refusals {
        tracing::error!(resource = %refusal.source, reason = refusal.reason.as_str(), field = %refusal.field, "{}", refusal.message);
    }
    desired.export.stdout = true;
    agent.apply(Update { desired: Arc::new(desired), generation: 1, uid: None }).await;
    // Refusals are logged by the reconciler.
    for unit in agent.reconciler.snapshot(Timestamp::now()).units.values() {
        let UnitState::Active { notes } = &unit.state else { continue };
        tracing::info!(resource = %unit.source, "active");
        for note in notes {
            tracing::warn!(resource = %unit.source, reason = note.reason().as_str(), "{}", note.message());
        }
    }
    let (_sender, updates) = mpsc::channel(1);
    agent.run(updates).await
}

/// Prints one line for each finished profile; the profile itself is fetched through the socket. A slow reader of standard output
/// delays nothing.
fn print_profile(lines: &LineQueue, meta: &ProfileMeta) {
    lines.write((serde_json::json!({ "cpu_profile": meta }).to_string() + "\n").as_bytes());
}
