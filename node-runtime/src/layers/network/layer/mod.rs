//! The layer as the agent's loop sees it.

mod dns_reader;
mod dns_watch;
mod drop_reader;
mod drop_watch;
mod http_reader;
mod notes;
pub(super) mod pipeline;
mod reader;
mod ring_task;
mod targets;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use kube::Client;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::yield_now,
};
use trilobite_crds::stack::DnsMode;

pub use self::http_reader::HttpInbox;
use self::{http_reader::HttpReader, pipeline::FlowPipeline, ring_task::RingTask};
use super::{
    deliver::{stream::CaptureEvent, subscriber::SubscriberSpec},
    directory::{ClusterDirectory, Directory, SharedDirectory},
    history::FlowBuffer,
    hubble_metrics::HubbleMetrics,
    metrics::OutsideFlows,
    sources::{dns::DnsRing, tcx::sums::TrafficSums},
    verdict::{PolicyIndex, PolicyWatch},
};
use crate::{
    identity::IdentityService,
    kernel::Ring,
    layers::{LayerContext, worker::WorkerProgram},
    plan::{Plan, UnitCount, UnitKey, UnitState},
    problem::Problem,
};

/// Flows of selected pods.
pub struct Network {
    pipeline: Arc<Mutex<FlowPipeline>>,
    identity: IdentityService,
    client: Arc<OnceLock<Client>>,
    node: String,
    buffer: FlowBuffer,
    hubble_metrics: HubbleMetrics,
    directory: Option<Arc<ClusterDirectory>>,
    policies: Option<FollowedPolicies>,
    shared_directory: SharedDirectory,
    flow_reader: RingTask<Ring>,
    drop_reader: RingTask<Ring>,
    dns_reader: RingTask<DnsRing>,
    http_reader: HttpReader,
}

/// The policies of the cluster, and the watch that ends with them.
struct FollowedPolicies {
    index: Arc<Mutex<PolicyIndex>>,
    _watch: PolicyWatch,
}

impl Network {
    /// Loads nothing yet. With a client, pods of other nodes and Services are followed while flows are wanted.
    pub fn new(context: LayerContext, identity: IdentityService, client: Arc<OnceLock<Client>>) -> Self {
        let buffer = FlowBuffer::default();
        let node = context.node_name.clone();
        let hubble_metrics = HubbleMetrics::new(&node, context.ledger.clone(), buffer.clone());
        let mut pipeline = FlowPipeline::new(context, identity.clone(), buffer.clone(), random_seed());
        pipeline.set_metrics(hubble_metrics.clone());
        let pipeline = Arc::new(Mutex::new(pipeline));
        Self {
            pipeline,
            identity,
            client,
            node,
            buffer,
            hubble_metrics,
            directory: None,
            policies: None,
            shared_directory: SharedDirectory::default(),
            flow_reader: RingTask::default(),
            drop_reader: RingTask::default(),
            dns_reader: RingTask::default(),
            http_reader: HttpReader::default(),
        }
    }

    /// Reads DNS too, by workers of this program, unless `set_dns` says otherwise. The problem is noted where it would be read.
    #[must_use]
    pub fn with_dns_worker(self, program: Result<WorkerProgram, Problem>) -> Self {
        self.pipeline.lock().dns.worker = Some(program);
        self
    }

    /// Whether the stack wants DNS to be read while flows are captured, from the next `apply` on.
    pub fn set_dns(&self, mode: DnsMode) {
        self.pipeline.lock().dns.is_disabled = mode == DnsMode::Disabled;
    }

    /// The most recent flows, to be served.
    pub fn flow_buffer(&self) -> FlowBuffer {
        self.buffer.clone()
    }

    /// Hubble's metrics, counted while they are asked for.
    pub fn hubble_metrics(&self) -> HubbleMetrics {
        self.hubble_metrics.clone()
    }

    /// The owners of addresses in the cluster, known while flows are wanted.
    pub fn shared_directory(&self) -> SharedDirectory {
        self.shared_directory.clone()
    }

    /// Where the decoder of HTTP requests sends them, to become flows.
    pub fn http_inbox(&self) -> HttpInbox {
        self.http_reader.inbox()
    }

    /// The streams of captures, from here on; an earlier subscription ends.
    pub fn subscribe_captures(&self) -> UnboundedReceiver<CaptureEvent> {
        let (sender, events) = unbounded_channel();
        self.pipeline.lock().captures = Some(sender);
        events
    }

    /// Brings the kernel in line with the plan. Stack and captures share one attachment for each interface.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let parts = plan.flows().into_iter().map(|(key, unit)| (key, SubscriberSpec::from_part(&unit.content)));
        let sessions =
            plan.captures().into_iter().map(|(key, unit)| (key, SubscriberSpec::from_session(&unit.content)));
        let units: BTreeMap<UnitKey, SubscriberSpec> = parts.chain(sessions).collect();
        let are_wanted = !units.is_empty();
        if units.is_empty() {
            self.directory = None;
            self.policies = None;
        } else if let (None, Some(client)) = (&self.directory, self.client.get()) {
            let index = Arc::default();
            self.directory = Some(Arc::new(ClusterDirectory::follow(client, &self.node, &index)));
            self.policies = Some(FollowedPolicies { _watch: PolicyWatch::follow(client, &index), index });
        }
        let policies = self.policies.as_ref().map(|policies| policies.index.clone());
        self.shared_directory.set(self.directory.clone().map(|cluster| cluster as Arc<dyn Directory>));
        let remote = self.directory.iter().map(|cluster| cluster.clone() as Arc<dyn Directory>).collect();
        let (mut states, mut more) = {
            let mut pipeline = self.pipeline.lock();
            (pipeline.set_units(units, remote, policies), pipeline.reconcile())
        };
        self.read_rings().await;
        while more {
            // To attach and detach takes its time, and the agent has one thread: other tasks have their turn in between.
            yield_now().await;
            more = self.pipeline.lock().reconcile();
            self.read_rings().await;
        }
        self.http_reader.set_wanted(are_wanted, &self.pipeline);
        if let Some(captures) = &self.pipeline.lock().captures {
            let active = plan.captures().into_keys().map(|key| key.name.to_string()).collect();
            // Without a reader there is no file of a capture.
            let _ = captures.send(CaptureEvent::Active(active));
        }
        states.extend(self.states());
        states
    }

    /// The state of every wanted unit; it changes as pods come and go.
    pub fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        self.pipeline.lock().states()
    }

    /// Records of every active unit.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        self.pipeline.lock().counts()
    }

    /// Traffic outside flows, for `/metrics`.
    pub fn metrics(&self) -> Box<dyn Collector> {
        Box::new(OutsideFlows(self.pipeline.clone()))
    }

    /// Traffic of each watched interface, in flows and outside them.
    pub fn sums(&self) -> TrafficSums {
        self.pipeline.lock().sums()
    }

    /// Runs one task for each ring; a change of sizes replaces that of flows.
    async fn read_rings(&mut self) {
        let (flows, drops, dns) = {
            let pipeline = self.pipeline.lock();
            (pipeline.ring(), pipeline.drop_ring(), pipeline.dns.to_read())
        };
        let (pipeline, identity) = (&self.pipeline, &self.identity);
        // Where only drops are seen, their ring says how long the pods are followed.
        let lives_with = flows.as_ref().or(drops.as_ref()).cloned();
        self.flow_reader.read(lives_with, |_| reader::read_flows(pipeline.clone(), flows, identity.clone())).await;
        self.drop_reader.read(drops, |ring| drop_reader::read_drops(pipeline.clone(), ring)).await;
        let (dns, program) = dns.unzip();
        let pipeline = pipeline.clone();
        let read_dns = |ring| async move {
            if let Some(program) = program {
                dns_reader::read_dns(pipeline, ring, program).await;
            }
        };
        self.dns_reader.read(dns, read_dns).await;
    }
}

/// Differs from start to start.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
