//! The agent's state on disk: written while something is desired, read by an agent that starts without the API server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Agent, RESULTS_TIMEOUT, checkpoint::PendingWrites};
use crate::{agent::reconcile::NodeProblemSource, identity::Pod, kernel::clock};

/// How often the images of processes are written, if they have changed.
const PROCESSES_INTERVAL: Duration = Duration::from_secs(30);
/// Processes younger than this are not worth a write, in nanoseconds.
const PROCESSES_AGE: u64 = 10_000_000_000;

impl Agent {
    /// Writes the active state; a failed write is repeated by `sync_disk`.
    pub(crate) async fn write_state(&mut self) {
        let written = self.last_known_good.write(Arc::new(self.reconciler.state_to_persist()), Clone::clone).await;
        self.pending_writes.state = written.is_err();
        self.reconciler.set_node_problem(NodeProblemSource::LastKnownGood, written.err());
    }

    async fn write_pods(&mut self) {
        // Without a selection by namespace labels none are watched: the file stays for a later selection.
        let labels = if self.identity.needs_namespaces() {
            self.known_namespaces.write_if_changed(self.identity.namespaces(), Clone::clone).await
        } else {
            Ok(())
        };
        let clones = |pods: &Vec<Arc<Pod>>| pods.iter().map(|pod| Pod::clone(pod)).collect();
        let pods = self.known_pods.write_if_changed(self.identity.pods(), clones).await;
        self.pending_writes.pods = labels.is_err() || pods.is_err();
        self.reconciler.set_node_problem(NodeProblemSource::KnownNamespaces, labels.err());
        self.reconciler.set_node_problem(NodeProblemSource::KnownPods, pods.err());
    }

    /// Gives identity the images that an earlier agent has seen.
    pub(crate) fn restore_processes(&self) {
        match self.known_processes.file.read() {
            Ok(known) => self.identity.set_known_processes(known.unwrap_or_default()),
            Err(error) => tracing::warn!(%error, "processes that run already have the names that /proc shows"),
        }
    }

    /// Writes the images of processes that began before `time`, and of parents.
    pub(super) async fn write_processes(&mut self, time: u64) {
        if !self.is_persisting {
            return;
        }
        self.processes_written = Instant::now();
        let known = self.identity.known_processes(time);
        let written = self.known_processes.write_if_changed(known, Clone::clone).await;
        self.reconciler.set_node_problem(NodeProblemSource::KnownProcesses, written.err());
    }

    /// Once a tick: purges old results, touches the state file as a sign of life, and writes what changed or failed before.
    pub(crate) async fn sync_disk(&mut self) {
        self.profiles.results().purge(Timestamp::now());
        // While nothing is active yet the node is as unwatched as without an agent: the gap must not shrink.
        if self.unwatched_since.is_none() {
            self.last_known_good.file.touch();
        }
        if !self.is_persisting {
            return;
        }
        if self.pending_writes.state {
            self.write_state().await;
        }
        if self.pods_changed.has_changed().unwrap_or_default() {
            // Marked before the read, so that a change during the write is seen at the next tick.
            self.pods_changed.mark_unchanged();
            self.pending_writes.pods = true;
        }
        if self.pending_writes.pods {
            self.write_pods().await;
        }
        if self.processes_written.elapsed() >= PROCESSES_INTERVAL {
            self.write_processes(clock::boot_ns().saturating_sub(PROCESSES_AGE)).await;
        }
    }

    /// Unloads everything and clears this node's state directory. Writers stop first.
    pub(crate) async fn unload_and_clear_disk(&mut self) {
        self.is_persisting = false;
        self.unwatched_since = None;
        self.export.finish().await;
        self.export.remove_fifo();
        self.reconciler.unload(RESULTS_TIMEOUT).await;
        self.reconciler.set_node_problem(NodeProblemSource::LastKnownGood, None);
        self.reconciler.set_node_problem(NodeProblemSource::KnownPods, None);
        self.reconciler.set_node_problem(NodeProblemSource::KnownNamespaces, None);
        self.reconciler.set_node_problem(NodeProblemSource::KnownProcesses, None);
        self.reconciler.set_node_problem(NodeProblemSource::Profile, None);
        self.known_pods.mark_unwritten();
        self.known_namespaces.mark_unwritten();
        self.known_processes.mark_unwritten();
        self.pending_writes = PendingWrites { state: false, pods: true };
        for entry in std::fs::read_dir(&self.context.state_dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "this file could not be removed");
            }
        }
    }
}
