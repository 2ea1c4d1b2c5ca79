//! Starts and stops the operator: HTTP endpoints, watches, the status index and its writer, the controllers.

mod spawner;
mod watches;

use std::{sync::Arc, time::Instant};

use kube::{Client, runtime::events::Recorder};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    spawner::ControllerSpawner,
    watches::{NodeEvents, Watches},
};
use crate::{
    args::Arguments,
    context::Context,
    controllers::{runner::ReadyGate, stack::withdraw_while_waiting},
    garbage_collector::collect_garbage,
    http::{HttpState, Readiness, serve},
    json_depth_limit::limit_json_depth,
    metrics::Metrics,
    rate_limiter::RateLimiter,
    start_times::StartTimes,
    status::{
        ControllerReport, GracePeriods, IndexDriver, SilentAgentWriter, StatusWriter, event_reporter,
        watch_pod_refusals,
    },
    wait_for_crds::{wait_for_crds, watch_crds},
    watch::{InitialSync, Trigger, WatchRegistry, pods::PodWatches},
};

/// Capacity of the channels to the index and to the status writer.
const QUEUE: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("serving /metrics, /livez and /readyz: {0}")]
    Http(#[source] std::io::Error),
}

/// Runs every controller until `stop`, then finishes running reconciles and writes pending statuses.
///
/// # Errors
/// If its port cannot be served. Failures of the API server are retried.
pub async fn run_operator(client: Client, arguments: Arguments, stop: CancellationToken) -> Result<(), OperatorError> {
    let client = limit_json_depth(client);
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::default();
    let state = HttpState { metrics: metrics.clone(), readiness: readiness.clone() };
    let server = tokio::spawn(serve(arguments.listen, state, stop.clone()));
    let work = async {
        let has_crds = tokio::select! {
            has_crds = wait_for_crds(&client, &arguments.namespace, &readiness, &stop) => has_crds,
            never = withdraw_while_waiting(&client, &arguments.namespace) => match never {},
        };
        if has_crds {
            run_controllers(client, arguments, metrics, readiness, stop.clone()).await;
        }
    };
    tokio::select! {
        () = work => {}
        error = server_error(server) => return Err(OperatorError::Http(error)),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Returns only if the server fails.
async fn server_error(server: JoinHandle<std::io::Result<()>>) -> std::io::Error {
    match server.await {
        Ok(Err(error)) => error,
        _ => std::future::pending().await,
    }
}

async fn run_controllers(
    client: Client,
    arguments: Arguments,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let registry = WatchRegistry { metrics: metrics.clone(), sync: InitialSync::new(), failed: Trigger::new() };
    let (watches, node_events) = Watches::start(&client, &arguments.namespace, &registry);
    let (reports, reports_receiver) = mpsc::channel(QUEUE);
    let context = Arc::new(Context {
        client: client.clone(),
        arguments: arguments.clone(),
        stores: watches.stores(),
        plan: watch::Sender::new(None),
        reports,
        metrics: metrics.clone(),
        pod_watches: PodWatches::new(client.clone(), metrics),
        recorder: Recorder::new(client, event_reporter()),
        authority: watch::Sender::new(None),
        withdrawal: Mutex::new(None),
        unreachable_since: Mutex::new(None),
        starts: StartTimes::default(),
        rollout_limiter: RateLimiter::new(arguments.nodes_per_second, Instant::now()),
    });
    let nodes_changed = Trigger::new();
    let index = StatusIndex::start(&context, node_events, reports_receiver, &nodes_changed);
    let garbage_triggers = watches.edited().into_iter().chain([nodes_changed.clone()]).collect();
    let (gate, open) = ReadyGate::new();
    let tasks = TaskTracker::new();
    tasks.spawn(watch_crds(context.client.clone(), readiness.clone(), registry.failed.clone(), stop.clone()));
    let spawner = ControllerSpawner { tasks: &tasks, context: &context, gate, stop: &stop };
    spawner.spawn_all(watches, &nodes_changed);
    tokio::select! {
        () = registry.sync.all_synced() => {
            tracing::info!("all caches have synced: starting the controllers");
            readiness.set_synced();
            open.send_replace(true);
            tasks.spawn(collect_garbage(context.clone(), garbage_triggers, stop.clone()));
            stop.cancelled().await;
        },
        never = withdraw_while_waiting(&context.client, &context.arguments.namespace) => match never {},
        () = stop.cancelled() => {}
    }
    // The index stops after the controllers, so that it gets their last reports.
    tasks.close();
    tasks.wait().await;
    index.stop().await;
}

/// The tasks that compute and write the status of user resources.
struct StatusIndex {
    driver: JoinHandle<()>,
    stop: CancellationToken,
    writer: JoinHandle<()>,
    silent_agent_writer: JoinHandle<()>,
}

impl StatusIndex {
    fn start(
        context: &Context,
        events: NodeEvents,
        reports: mpsc::Receiver<ControllerReport>,
        nodes_changed: &Trigger,
    ) -> Self {
        let arguments = &context.arguments;
        let (client, metrics) = (context.client.clone(), context.metrics.clone());
        let (writes, writes_receiver) = mpsc::channel(QUEUE);
        let (silent_agents, silent_agents_receiver) = mpsc::channel(1);
        let interval = arguments.status_interval_seconds;
        let writer = StatusWriter::new(client.clone(), metrics.clone(), interval);
        let silent_agent_writer = SilentAgentWriter::new(client.clone());
        let driver = IndexDriver {
            nodes: events.nodes,
            agents: events.agent_pods,
            runtimes: events.runtimes,
            pod_refusals: watch_pod_refusals(client, &arguments.namespace),
            reports,
            writes,
            silent_agents,
            metrics,
            namespace: arguments.namespace.clone(),
            nodes_changed: nodes_changed.clone(),
        };
        let grace = GracePeriods { node: arguments.node_grace_seconds, agent: arguments.agent_grace_seconds };
        let stop = CancellationToken::new();
        Self {
            driver: tokio::spawn(driver.drive(grace, stop.clone())),
            stop,
            writer: tokio::spawn(writer.write_until_closed(writes_receiver)),
            silent_agent_writer: tokio::spawn(silent_agent_writer.write_until_closed(silent_agents_receiver)),
        }
    }

    /// Stops the index, and then the writers, which write everything that is pending first.
    async fn stop(self) {
        self.stop.cancel();
        let _ = (self.driver.await, self.writer.await, self.silent_agent_writer.await);
    }
}
