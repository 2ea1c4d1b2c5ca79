//! Puts the operator together: watches, controllers, the index, the writer, and their end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{Controller, WatchStreamExt as _, events::Recorder, reflector::ObjectRef, watcher},
};
use tokio::{
    sync::{mpsc, watch as cell},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trilobite_crds::{AppProfile, FlowCapture, ObservabilityStack, STACK_NAME, TracingPolicy, TracingPolicyNamespaced};

use crate::{
    args::Arguments,
    children,
    context::{Context, Stores},
    controllers::{self, Gate, bounded, namespace_label, stack::Pace, tracing_policy},
    established, http,
    metrics::Metrics,
    shallow,
    status::{self, Feed, Writer},
    sweep,
    watch::{
        Book, Changes, FirstLists, Guarded, Kind, announced, keep, kind, node_runtimes, pods::PodWatches, watched,
    },
};

/// Reports that wait for the index, and statuses that wait for the writer.
const QUEUE: usize = 1024;

/// What ends the operator besides being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port of /metrics could not be served.
    #[error("serving /metrics, /livez and /readyz: {0}")]
    Http(#[source] std::io::Error),
}

/// Runs every controller until `stop`, then finishes what is under way and writes the statuses that wait.
///
/// # Errors
/// When its own port cannot be served. Whatever the API server does is waited out.
pub async fn run(client: Client, arguments: Arguments, stop: CancellationToken) -> Result<(), Error> {
    let client = shallow::shallow(client);
    let metrics = Arc::new(Metrics::new());
    let ready = Arc::new(AtomicBool::new(false));
    let served = http::Served { metrics: metrics.clone(), ready: ready.clone() };
    let server = tokio::spawn(http::serve(arguments.listen, served, stop.clone()));
    let work = async {
        if established::wait(&client, &stop).await {
            everything(client, arguments, metrics, &ready, stop.clone()).await;
        }
    };
    tokio::select! {
        () = work => {}
        error = failed(server) => return Err(Error::Http(error)),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Returns only if the server could not serve.
async fn failed(server: JoinHandle<std::io::Result<()>>) -> std::io::Error {
    match server.await {
        Ok(Err(error)) => error,
        _ => std::future::pending().await,
    }
}

async fn everything(
    client: Client,
    arguments: Arguments,
    metrics: Arc<Metrics>,
    ready: &AtomicBool,
    stop: CancellationToken,
) {
    let book = Book { metrics: metrics.clone(), lists: FirstLists::new() };
    let stacks = kind::<ObservabilityStack>(&client, "ObservabilityStack", &book);
    let policies = kind::<TracingPolicy>(&client, "TracingPolicy", &book);
    let namespaced = kind::<TracingPolicyNamespaced>(&client, "TracingPolicyNamespaced", &book);
    let captures = kind::<FlowCapture>(&client, "FlowCapture", &book);
    let profiles = kind::<AppProfile>(&client, "AppProfile", &book);
    let any = watcher::Config::default;
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let namespaces = keep(watched(namespaces, any()), "Namespace", &book, |_| {});
    let (namespace_events, relabelled) = announced(namespaces.events, |meta| meta.labels.clone());
    let nodes = keep(watched(Api::<Node>::all(client.clone()), any()), "Node", &book, prune_node);
    let runtimes = node_runtimes::watch(&client, &book);
    let agents: Api<Pod> = Api::namespaced(client.clone(), &arguments.namespace);
    let labels: Vec<String> = children::selector().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let agents = keep(watched(agents, any().labels(&labels.join(","))), "Pod", &book, prune_pod);

    let recorder = Recorder::new(client.clone(), status::reporter());
    let (reports, incoming) = mpsc::channel(QUEUE);
    let (writes, outgoing) = mpsc::channel(QUEUE);
    let nodes_changed = Changes::new();
    let context = Arc::new(Context {
        client: client.clone(),
        arguments: arguments.clone(),
        stores: Stores {
            stacks: stacks.store.clone(),
            policies: policies.store.clone(),
            namespaced_policies: namespaced.store.clone(),
            captures: captures.store.clone(),
            profiles: profiles.store.clone(),
            namespaces: namespaces.store.clone(),
            nodes: nodes.store,
            runtimes: runtimes.store,
            agents: agents.store,
        },
        plan: cell::Sender::new(None),
        reports,
        metrics: metrics.clone(),
        pods: PodWatches::new(client.clone(), metrics.clone()),
        recorder: recorder.clone(),
        pace: Pace::new(arguments.nodes_per_second, Instant::now()),
    });

    // The writer ends after everything that sends to it.
    let writer = Writer::new(client.clone(), recorder, metrics.clone(), arguments.status_interval_seconds);
    let writer = tokio::spawn(writer.run(outgoing));
    let feed = Feed {
        nodes: nodes.events.boxed(),
        agents: agents.events.boxed(),
        runtimes: runtimes.events.boxed(),
        refusals: status::refusals(client.clone(), &arguments.namespace),
        reports: incoming,
        writes,
        metrics,
        namespace: arguments.namespace.clone(),
        nodes_changed: nodes_changed.clone(),
    };
    let patience = status::Patience { node: arguments.node_grace_seconds, agent: arguments.agent_grace_seconds };
    let no_more_reports = CancellationToken::new();
    let feed = tokio::spawn(feed.run(patience, no_more_reports.clone()));

    let (gate, open) = Gate::new();
    let tasks = TaskTracker::new();
    let all = Spawn { tasks: &tasks, context: &context, gate, stop: &stop };
    let edits = [&stacks.edits, &policies.edits, &namespaced.edits, &captures.edits, &profiles.edits];
    let swept: Vec<Changes> = edits.into_iter().chain([&nodes_changed]).cloned().collect();
    let of_stack = stacks.edits.clone();

    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), &arguments.namespace);
    let stack = Controller::for_stream(stacks.events.applied_objects(), stacks.store)
        // Not `owns`: that would ask for an owner in the DaemonSet's namespace, and the stack has none.
        .watches(daemon_sets, any().labels(&labels.join(",")), |_| [ObjectRef::new(STACK_NAME)])
        .reconcile_all_on(policies.edits.stream())
        .reconcile_all_on(namespaced.edits.stream())
        .reconcile_all_on(nodes_changed.stream());
    all.run("stack", stack, controllers::stack::reconcile);

    let policy = of_kind(policies, &of_stack).reconcile_all_on(planned(&context));
    all.run("tracing-policy", policy, tracing_policy::reconcile::<TracingPolicy>);
    let policy = of_kind(namespaced, &of_stack).reconcile_all_on(planned(&context));
    all.run("tracing-policy-namespaced", policy, tracing_policy::reconcile::<TracingPolicyNamespaced>);

    let of_profiles = profiles.edits.clone();
    let (pods, nodes) = (context.pods.changes(), &nodes_changed);
    let capture = of_kind(captures, &of_stack)
        .reconcile_all_on(pods.stream())
        .reconcile_all_on(nodes.stream())
        .reconcile_all_on(relabelled.stream());
    all.run("flow-capture", capture, bounded::reconcile::<FlowCapture>);
    let profile = of_kind(profiles, &of_stack)
        .reconcile_all_on(pods.stream())
        .reconcile_all_on(nodes.stream())
        .reconcile_all_on(relabelled.stream());
    all.run("app-profile", profile, bounded::reconcile::<AppProfile>);

    let label = Controller::for_stream(namespace_events.applied_objects(), namespaces.store)
        .reconcile_all_on(of_profiles.stream())
        .reconcile_all_on(of_stack.stream());
    let told = namespace_label::Told::default();
    all.run("namespace-label", label, move |namespace, context| {
        namespace_label::reconcile(namespace, context, told.clone())
    });

    tokio::select! {
        () = book.lists.all_read() => {
            tracing::info!("every first list has been read: the controllers begin");
            ready.store(true, Ordering::Relaxed);
            open.send_replace(true);
            tasks.spawn(sweep::run(context.clone(), swept, stop.clone()));
            stop.cancelled().await;
        },
        () = stop.cancelled() => {}
    }
    tasks.close();
    tasks.wait().await;
    no_more_reports.cancel();
    let _ = (feed.await, writer.await);
}

struct Spawn<'a> {
    tasks: &'a TaskTracker,
    context: &'a Arc<Context>,
    gate: Gate,
    stop: &'a CancellationToken,
}

impl Spawn<'_> {
    fn run<K, E, F>(
        &self,
        name: &'static str,
        controller: Controller<K>,
        reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
        E: controllers::Category,
        F: Future<Output = Result<kube::runtime::controller::Action, E>> + Send + 'static,
    {
        let (context, gate, stop) = (self.context.clone(), self.gate.clone(), self.stop.clone());
        self.tasks.spawn(controllers::run(name, controller, context, gate, stop, reconcile));
    }
}

/// A controller of a user kind; each object is looked at again when the stack is edited.
fn of_kind<K>(kind: Kind<K>, of_stack: &Changes) -> Controller<Guarded<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    Controller::for_stream(kind.events.applied_objects(), kind.store).reconcile_all_on(of_stack.stream())
}

/// An item for each new plan.
fn planned(context: &Context) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(context.plan.subscribe(), async |mut plan| {
        plan.changed().await.ok()?;
        Some(((), plan))
    })
}

/// Annotations and images are most of a node, and nobody reads them.
fn prune_node(node: &mut Node) {
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        (status.images, status.addresses) = (None, None);
        // Whether the node is heard of; heartbeats of it would be news every time.
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        if let Some(conditions) = &mut status.conditions {
            conditions.retain(|condition| condition.type_ == "Ready");
        }
    }
}

/// All that counts is where the pod is and how it fares.
fn prune_pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    if let Some(spec) = &mut pod.spec {
        (spec.containers, spec.volumes, spec.tolerations) = (Vec::new(), None, None);
    }
}
