//! The agent of one node: owns identity, layers and services, and keeps them in line with the desired state.
//! The command (`agent` or `run`) decides where the desired state comes from.

mod assemble;
pub mod checkpoint;
mod disk;
mod http_flows;
mod metrics_port;
mod pod_counts;
pub mod reconcile;
mod relay_port;
mod start_up;
mod tetragon_metrics;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use kube::Client;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use self::{
    checkpoint::{Checkpoint, PendingWrites},
    metrics_port::MetricsPort,
    pod_counts::PodCounts,
    reconcile::{NodeProblemSource, Reconciler},
    relay_port::RelayPort,
};
use crate::{
    desired::{ActiveState, DesiredUpdate, Update, cluster},
    export::{EventExport, captures::CaptureExport},
    identity::{IdentityService, KnownProcesses, Pod, selection::Namespaces},
    kernel::memory,
    layers::{
        LayerContext,
        application::{Profiles, requests::rows::RequestRows},
        deadline::{deadline_at, sleep_until_some},
        network::history::FlowBuffer,
        security::event_bus::EventBus,
    },
    loss::{gap::Gap, stack_source},
    problem::Problem,
    report::{health, status::Snapshot},
    serve::{requests::RequestNames, socket::Socket},
};

/// How often counters are read and the state file is touched.
const TICK: Duration = Duration::from_secs(1);

/// How long a stopping agent waits for clients to read what is queued for them.
const SERVER_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a stopping agent waits for running profiles to write their results.
const RESULTS_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything one agent owns.
pub(crate) struct Agent {
    pub(crate) context: LayerContext,
    pub(crate) reconciler: Reconciler,
    pub(crate) last_known_good: Checkpoint<ActiveState, ActiveState>,
    pub(crate) known_pods: Checkpoint<Vec<Arc<Pod>>, Vec<Pod>>,
    pub(crate) known_namespaces: Checkpoint<Namespaces, Namespaces>,
    /// When the previous agent was last alive; reported as a gap once something is active again.
    pub(crate) unwatched_since: Option<SystemTime>,
    known_processes: Checkpoint<KnownProcesses, KnownProcesses>,
    /// When the images of processes were last written to disk.
    processes_written: Instant,
    pods_changed: watch::Receiver<u64>,
    pod_counts: PodCounts,
    pending_writes: PendingWrites,
    /// False while nothing is desired on this node: then nothing is written to its disk.
    is_persisting: bool,
    pub(crate) identity: IdentityService,
    /// Set once the agent has a client of the API server; never in `run`.
    pub(crate) client: Arc<OnceLock<Client>>,
    flow_buffer: FlowBuffer,
    pub(crate) profiles: Profiles,
    pub(crate) request_rows: RequestRows,
    pub(crate) request_names: RequestNames,
    pub(crate) export: EventExport,
    captures: CaptureExport,
    pub(crate) bus: EventBus,
    pub(crate) relay_port: RelayPort,
    metrics_port: MetricsPort,
    snapshots: watch::Sender<Option<Snapshot>>,
    /// Read by the health services; none while the node is healthy.
    unhealthy: watch::Sender<Option<String>>,
    flows_refused: watch::Sender<bool>,
    /// Problems of background tasks, copied into each snapshot.
    pub(crate) node_problems: Vec<(NodeProblemSource, watch::Receiver<Option<Problem>>)>,
    server: JoinHandle<()>,
    /// Dropping it shuts the server down.
    shutdown: oneshot::Sender<()>,
    _socket: Socket,
}

impl Agent {
    pub(crate) fn snapshots(&self) -> watch::Receiver<Option<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Applies each update until SIGTERM or SIGINT, then unloads everything.
    pub(crate) async fn run(mut self, mut updates: mpsc::Receiver<DesiredUpdate>) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(update) = updates.recv() => match update {
                    DesiredUpdate::Changed(update) => {
                        self.reconciler.set_node_problem(NodeProblemSource::Profile, None);
                        self.apply(update).await;
                    }
                    DesiredUpdate::Unavailable { uid, problem } => {
                        self.reconciler.set_uid(uid);
                        self.reconciler.set_node_problem(NodeProblemSource::Profile, Some(problem));
                    }
                    DesiredUpdate::StatusOverwritten => self.reconciler.count_overwritten_status(),
                    DesiredUpdate::Removed => {
                        self.relay_port.close().await;
                        self.metrics_port.close().await;
                        self.unload_and_clear_disk().await;
                    }
                },
                () = sleep_until_some(deadline_at(self.reconciler.next_expiry(Timestamp::now()))) => {
                    self.reconciler.reconcile(Timestamp::now()).await;
                    memory::release_unused();
                }
                _ = tick.tick() => {
                    self.reconciler.reconcile_if_memory_was_freed(Timestamp::now()).await;
                    self.sync_disk().await;
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
            self.publish_snapshot();
        }
        tracing::info!("stopping: everything is unloaded");
        if self.is_removed().await {
            self.unload_and_clear_disk().await;
        } else {
            self.reconciler.unload(RESULTS_TIMEOUT).await;
            self.write_processes(u64::MAX).await;
        }
        self.bus.close();
        self.flow_buffer.close();
        self.request_rows.close();
        self.relay_port.close().await;
        self.metrics_port.close().await;
        self.export.finish().await;
        self.captures.finish().await;
        drop(self.shutdown);
        if timeout(SERVER_SHUTDOWN_TIMEOUT, self.server).await.is_err() {
            tracing::debug!("a client is still reading; its connection is closed");
        }
        Ok(())
    }

    /// At an uninstall SIGTERM may arrive before the watch says that the NodeRuntime is gone. The disk has to be cleared now:
    /// there is no later agent to do it.
    async fn is_removed(&self) -> bool {
        match self.client.get() {
            Some(client) => cluster::is_gone(client, &self.context.node_name).await,
            None => false,
        }
    }

    /// Publishes a snapshot; readers wake only when it differs from the one before.
    fn publish_snapshot(&mut self) {
        for (source, problem) in &self.node_problems {
            self.reconciler.set_node_problem(*source, problem.borrow().clone());
        }
        let mut snapshot = self.reconciler.snapshot(Timestamp::now());
        let pods_selected = self.pod_counts.by_part(&snapshot.desired, &self.identity, Instant::now());
        snapshot.pods_selected.clone_from(pods_selected);
        let exports = self.export.problems();
        snapshot.node_problems.extend(exports.into_iter().map(|problem| (stack_source(), problem)));
        self.unhealthy
            .send_if_modified(|old| replace_if_changed(old, health::unhealthy_message(&snapshot, &self.context.facts)));
        self.flows_refused.send_if_modified(|old| replace_if_changed(old, health::flows_are_refused(&snapshot)));
        self.snapshots.send_if_modified(|old| replace_if_changed(old, Some(snapshot)));
    }

    /// Applies a desired state, and writes it to disk once that is done.
    pub(crate) async fn apply(&mut self, update: Update) {
        self.export.apply(&update.desired.export);
        self.relay_port.apply(update.desired.listen.as_ref()).await;
        self.metrics_port.apply(update.desired.network.metrics.as_ref()).await;
        self.reconciler.set_dns(update.desired.network.dns);
        self.reconciler.apply(update, Timestamp::now()).await;
        if let Some(gap) = Gap::since(self.unwatched_since.take(), Timestamp::now()) {
            tracing::warn!(from = %gap.from, to = %gap.to, "no agent was running on this node for a while");
            self.bus.publish_gap(gap);
        }
        self.is_persisting = true;
        self.write_state().await;
        memory::release_unused();
    }
}

/// Returns whether the value changed.
fn replace_if_changed<T: PartialEq>(old: &mut T, new: T) -> bool {
    let differs = *old != new;
    *old = new;
    differs
}
