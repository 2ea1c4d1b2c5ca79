//! `trilobite-node agent`: the agent in a cluster. It resumes the last-known-good state before it asks the API server.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;

use crate::{
    agent::Agent,
    agent::reconcile::NodeProblemSource,
    args::AgentArguments,
    desired::{Update, cluster},
    export::EventExport,
    identity::ClusterWatch,
    problem::Problem,
    report::writer,
};

/// Returns after SIGTERM.
pub(super) async fn run_agent(arguments: &AgentArguments) -> anyhow::Result<()> {
    let mut agent = Agent::new(&arguments.common, true).await?;
    match &arguments.export_fifo {
        Some(path) => agent.export.set_stdout_fifo(path.clone()),
        None => EventExport::remove_stale_fifo(&arguments.common.socket.socket.with_file_name("export").join("events")),
    }
    agent.restore_processes();
    let name = agent.context.node_name.clone();
    resume(&mut agent).await;
    let client =
        Client::try_default().await.context("finding the API server; is this a pod with a service account?")?;
    // Cannot fail: this is the only place that sets it.
    let _ = agent.client.set(client.clone());
    let (sender, updates) = mpsc::channel(1);
    let watches = ClusterWatch::start(&client, &name, &agent.identity);
    agent.node_problems.push((NodeProblemSource::Pods, watches.pods_problem.clone()));
    agent.node_problems.push((NodeProblemSource::Namespaces, watches.namespaces_problem.clone()));
    tokio::spawn(cluster::follow(client.clone(), name.clone(), sender));
    tokio::spawn(writer::write_statuses(client, name, agent.context.facts.clone(), agent.snapshots()));
    agent.run(updates).await
}

/// Resumes from disk. The plan leaves expired sessions out; a truncated file is refused and reported. In every case the time
/// since the previous agent's last sign of life is a gap.
async fn resume(agent: &mut Agent) {
    match agent.known_namespaces.file.read() {
        Ok(namespaces) => agent.identity.set_namespaces(namespaces.unwrap_or_default()),
        Err(error) => tracing::error!(%error, "namespace labels are unknown until the API server answers"),
    }
    match agent.known_pods.file.read() {
        Ok(pods) => agent.identity.set_pods(pods.into_iter().flatten().map(Arc::new).collect()),
        Err(error) => {
            tracing::error!(%error, "pods are unknown until the API server answers");
            agent.reconciler.set_node_problem(
                NodeProblemSource::KnownPods,
                Some(Problem::LastGoodRefused { detail: error.to_string() }),
            );
        }
    }
    agent.unwatched_since = agent.last_known_good.file.last_alive();
    match agent.last_known_good.file.read() {
        Ok(None) => {}
        Ok(Some(kept)) => {
            if let Some(alive) = agent.unwatched_since.and_then(|time| Timestamp::try_from(time).ok()) {
                agent.reconciler.take_over(&kept.desired, alive, Timestamp::now());
            }
            let update = |desired| Update { desired: Arc::new(desired), generation: 0, uid: None };
            // A part that was refused then may load now, so it is tried again, with its previous version already active.
            if let Some(previous) = kept.with_previous_versions() {
                agent.reconciler.apply(update(previous), Timestamp::now()).await;
            }
            agent.apply(update(kept.desired)).await;
        }
        Err(error) => {
            tracing::error!(%error, "the last-known-good state was refused");
            agent.reconciler.set_node_problem(
                NodeProblemSource::LastKnownGood,
                Some(Problem::LastGoodRefused { detail: error.to_string() }),
            );
        }
    }
}
