//! Builds an agent: facts of the kernel, identity, layers, and the services on its socket.

use std::{path::PathBuf, sync::Arc, time::Instant};

use anyhow::Context as _;
use prometheus_client::collector::Collector;
use tokio::sync::{oneshot, watch};
use tonic::service::Routes;

use super::{
    Agent,
    checkpoint::{Checkpoint, PendingWrites},
    http_flows::pass_on_requests,
    metrics_port::MetricsPort,
    pod_counts::PodCounts,
    reconcile::{NodeProblemSource, Reconciler},
    relay_port::RelayPort,
    start_up::release_code_after_start,
    tetragon_metrics::TetragonMetrics,
};
use crate::{
    args::CommonArguments,
    desired::last_known_good::{self, KnownNamespaces, KnownPods, LastKnownGood, ProcessesFile},
    export::{EventExport, captures::CaptureExport},
    identity::IdentityService,
    kernel::{self, clock::BootTime},
    layers::{
        LayerContext, Layers,
        application::Application,
        network::Network,
        security::{Security, event_bus::EventBus, policy_report::PolicyReports},
        worker::{WorkerProgram, program},
    },
    loss::Ledger,
    report::metrics,
    serve::{
        self, hubble,
        read_rows::ReadRows,
        router::Services,
        socket::Socket,
        tetragon::{self, AgentInfo, EventEncoder},
    },
};

impl Agent {
    /// Probes the kernel and listens on the socket; nothing is loaded. `in_cluster` says whether there is an API server that
    /// knows the pods.
    pub(crate) async fn new(arguments: &CommonArguments, in_cluster: bool) -> anyhow::Result<Self> {
        let facts = Arc::new(kernel::probe::facts(arguments.host.cgroup_root.as_deref()));
        let ledger = Ledger::default();
        last_known_good::make_folder(&arguments.state_dir, in_cluster)
            .with_context(|| format!("the state directory {}", arguments.state_dir.display()))?;
        let context = LayerContext {
            node_name: node_name(arguments)?,
            facts: facts.clone(),
            ledger: ledger.clone(),
            state_dir: arguments.state_dir.clone(),
        };
        let (socket, listener) = Socket::listen(&arguments.socket.socket)?;
        let (snapshots, _) = watch::channel(None);
        let identity = IdentityService::new(facts.clone(), ledger.clone(), in_cluster);
        let bus = EventBus::new(ledger.clone());
        let encoder = EventEncoder {
            node_name: context.node_name.as_str().into(),
            cluster_name: "".into(),
            boot_time: Arc::new(BootTime::of_this_machine()),
        };
        let (unhealthy, is_unhealthy) = watch::channel(None);
        let policies = PolicyReports::default();
        let agent_info = AgentInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            problem: is_unhealthy,
            policies: policies.clone(),
            identity: identity.clone(),
            probes: vec![("btf", facts.btf), ("signal", facts.release >= kernel::Release { major: 5, minor: 3 })],
        };
        let worker = arguments.worker.clone().unwrap_or_else(program::default_path);
        let worker = WorkerProgram::find(&worker);
        let application = Application::new(context.clone(), identity.clone(), worker.clone());
        let profiles = application.profiles();
        let request_rows = application.request_rows();
        let client = Arc::default();
        let rows = ReadRows::default();
        let network = Network::new(context.clone(), identity.clone(), Arc::clone(&client)).with_dns_worker(worker);
        let export = EventExport::new(bus.clone(), encoder.clone(), ledger.clone(), arguments.state_dir.clone());
        let (metrics_problem, is_without_metrics) = watch::channel(None);
        if let Some(address) = arguments.metrics_address {
            let readable = snapshots.subscribe();
            let tetragon = TetragonMetrics {
                ledger: ledger.clone(),
                policies: policies.clone(),
                bus: bus.clone(),
                exported: export.counts(),
            };
            let shared: Vec<Box<dyn Collector>> = vec![Box::new(rows.clone()), Box::new(tetragon)];
            let of_layers = vec![identity.metrics(), network.metrics()];
            tokio::spawn(metrics::serve(address, metrics_problem, ledger.clone(), readable, of_layers, shared));
        }
        let node_info = hubble::NodeInfo {
            node: context.node_name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            address: format!("unix://{}", kernel::node_path::on_node(&arguments.socket.socket).display()),
            started: Instant::now(),
        };
        let flow_buffer = network.flow_buffer();
        let (observer, peer) =
            hubble::services(flow_buffer.clone(), ledger.clone(), node_info, rows.clone(), Arc::clone(&client));
        let request_names = serve::requests::RequestNames {
            identity: identity.clone(),
            directory: network.shared_directory(),
            encoder: encoder.clone(),
        };
        let services = Routes::new(tetragon::service(bus.clone(), encoder.clone(), agent_info, rows.clone()))
            .add_service(observer)
            .add_service(peer)
            .add_service(serve::profiles::service(profiles.clone(), rows.clone()))
            .add_service(serve::requests::service(request_rows.clone(), request_names.clone(), ledger.clone(), rows));
        let services = Services::new(services);
        let relay_port = RelayPort::new(services.clone(), context.node_name.clone(), Arc::clone(&client));
        let metrics_port = MetricsPort::new(network.hubble_metrics());
        let (shutdown, shut_down) = oneshot::channel();
        let (flows_refused, are_refused) = watch::channel(false);
        let server = tokio::spawn(async move {
            if let Err(error) = services.serve_socket(listener, are_refused, shut_down).await {
                tracing::error!(%error, "serving the socket");
            }
        });
        tokio::spawn(pass_on_requests(request_rows.clone(), identity.clone(), network.http_inbox()));
        let captures = network.subscribe_captures();
        let captures = CaptureExport::start(captures, context.node_name.clone(), &arguments.state_dir, ledger.clone());
        let security = Security::new(context.clone(), identity.clone(), bus.clone());
        security.report_policies_to(&policies);
        let layers = Layers::new(facts, security, network, application);
        tokio::spawn(release_code_after_start());
        Ok(Self {
            captures,
            export,
            pods_changed: identity.changed(),
            pod_counts: PodCounts::new(&identity),
            identity,
            client,
            flow_buffer,
            profiles,
            request_rows,
            request_names,
            bus,
            reconciler: Reconciler::new(layers, ledger),
            last_known_good: Checkpoint::new(LastKnownGood::new(&arguments.state_dir), "the active state"),
            known_pods: Checkpoint::new(KnownPods::new(&arguments.state_dir), "the pods of this node"),
            known_namespaces: Checkpoint::new(KnownNamespaces::new(&arguments.state_dir), "labels of namespaces"),
            known_processes: Checkpoint::new(ProcessesFile::new(&arguments.state_dir), "the processes of this node"),
            processes_written: Instant::now(),
            pending_writes: PendingWrites::default(),
            unwatched_since: None,
            is_persisting: false,
            context,
            snapshots,
            unhealthy,
            flows_refused,
            node_problems: vec![
                (NodeProblemSource::Metrics, is_without_metrics),
                (NodeProblemSource::HubbleMetrics, metrics_port.problem()),
                (NodeProblemSource::RelayPort, relay_port.port_problem()),
                (NodeProblemSource::RelayCertificate, relay_port.certificate_problem()),
            ],
            relay_port,
            metrics_port,
            server,
            shutdown,
            _socket: socket,
        })
    }
}

fn node_name(arguments: &CommonArguments) -> anyhow::Result<String> {
    if let Some(name) = &arguments.node_name {
        return Ok(name.clone());
    }
    let path = PathBuf::from("/proc/sys/kernel/hostname");
    let name = std::fs::read_to_string(&path)
        .with_context(|| format!("{}; name the node with --node-name", path.display()))?;
    Ok(name.trim().to_owned())
}
