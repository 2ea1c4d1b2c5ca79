//! The agent of a node in a cluster. What was in force when it was last alive is in force again before the API server is asked.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;

use super::node::Node;
use crate::{
    args::AgentArguments,
    desired::{Update, cluster},
    identity::ClusterWatch,
    report::{Problem, writer},
    runtime::Matter,
};

/// Runs until SIGTERM.
pub(super) async fn run(arguments: &AgentArguments) -> anyhow::Result<()> {
    let mut node = Node::assemble(&arguments.common, true).await?;
    let name = node.context.node_name.clone();
    resume(&mut node).await;
    let client =
        Client::try_default().await.context("finding the API server; is this a pod with a service account?")?;
    // It is set here and nowhere else.
    let _ = node.client.set(client.clone());
    let (sender, news) = mpsc::channel(1);
    let watches = ClusterWatch::begin(&client, &name, &node.identity);
    node.troubles.push((Matter::Pods, watches.pods_trouble.clone()));
    node.troubles.push((Matter::Namespaces, watches.namespaces_trouble.clone()));
    tokio::spawn(cluster::follow(client.clone(), name.clone(), sender));
    tokio::spawn(writer::run(client, name, node.context.facts.clone(), node.snapshots()));
    node.run(news).await
}

/// Resumes from disk. Sessions whose end has come are left out by the plan; a file that is not whole is refused and reported.
/// However it ends, nobody has watched since the last sign of life.
async fn resume(node: &mut Node) {
    match node.known_namespaces.file.read() {
        Ok(namespaces) => node.identity.set_namespaces(namespaces.unwrap_or_default()),
        Err(error) => tracing::error!(%error, "labels of namespaces are unknown until the API server answers"),
    }
    match node.known_pods.file.read() {
        Ok(pods) => node.identity.set_pods(pods.into_iter().flatten().map(Arc::new).collect()),
        Err(error) => {
            tracing::error!(%error, "pods are unknown until the API server answers");
            node.runtime.trouble(Matter::KnownPods, Some(Problem::LastGoodRefused { detail: error.to_string() }));
        }
    }
    node.unwatched_since = node.last_good.file.last_alive();
    match node.last_good.file.read() {
        Ok(None) => {}
        Ok(Some(kept)) => {
            if let Some(alive) = node.unwatched_since.and_then(|time| Timestamp::try_from(time).ok()) {
                node.runtime.follow_on(&kept.desired, alive, Timestamp::now());
            }
            let of = |desired| Update { desired: Arc::new(desired), generation: 0, uid: None };
            // What was refused then may be had now, so it is asked for again; what stood in for it is there before.
            if let Some(before) = kept.before() {
                node.runtime.take(of(before), Timestamp::now()).await;
            }
            node.take(of(kept.desired)).await;
        }
        Err(error) => {
            tracing::error!(%error, "the last good state was not used");
            node.runtime.trouble(Matter::LastGood, Some(Problem::LastGoodRefused { detail: error.to_string() }));
        }
    }
}
