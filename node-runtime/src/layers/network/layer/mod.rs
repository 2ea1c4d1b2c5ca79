//! The layer as the agent's loop sees it.

mod notes;
pub(super) mod pipeline;
mod reader;
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
    task::{JoinHandle, yield_now},
};

use self::pipeline::FlowPipeline;
use super::{
    deliver::{stream::CaptureEvent, subscriber::SubscriberSpec},
    directory::{ClusterDirectory, Directory, SharedDirectory},
    history::FlowBuffer,
    metrics::OutsideFlows,
    sources::tcx::sums::TrafficSums,
};
use crate::{
    identity::IdentityService,
    kernel::Ring,
    layers::LayerContext,
    plan::{Plan, UnitCount, UnitKey, UnitState},
};

/// Flows of selected pods.
pub struct Network {
    pipeline: Arc<Mutex<FlowPipeline>>,
    identity: IdentityService,
    client: Arc<OnceLock<Client>>,
    node: String,
    buffer: FlowBuffer,
    directory: Option<Arc<ClusterDirectory>>,
    shared_directory: SharedDirectory,
    reader: Option<(Arc<Ring>, JoinHandle<()>)>,
}

impl Network {
    /// Loads nothing yet. With a client, pods of other nodes and Services are followed while flows are wanted.
    pub fn new(context: LayerContext, identity: IdentityService, client: Arc<OnceLock<Client>>) -> Self {
        let buffer = FlowBuffer::default();
        let node = context.node_name.clone();
        let pipeline = FlowPipeline::new(context, identity.clone(), buffer.clone(), random_seed());
        let pipeline = Arc::new(Mutex::new(pipeline));
        Self {
            pipeline,
            identity,
            client,
            node,
            buffer,
            directory: None,
            shared_directory: SharedDirectory::default(),
            reader: None,
        }
    }

    /// The most recent flows, to be served.
    pub fn flow_buffer(&self) -> FlowBuffer {
        self.buffer.clone()
    }

    /// The owners of addresses in the cluster, known while flows are wanted.
    pub fn shared_directory(&self) -> SharedDirectory {
        self.shared_directory.clone()
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
        if units.is_empty() {
            self.directory = None;
        } else if let (None, Some(client)) = (&self.directory, self.client.get()) {
            self.directory = Some(Arc::new(ClusterDirectory::follow(client, &self.node)));
        }
        self.shared_directory.set(self.directory.clone().map(|cluster| cluster as Arc<dyn Directory>));
        let remote = self.directory.iter().map(|cluster| cluster.clone() as Arc<dyn Directory>).collect();
        let (mut states, mut more, mut ring) = {
            let mut pipeline = self.pipeline.lock();
            (pipeline.set_units(units, remote), pipeline.reconcile(), pipeline.ring())
        };
        self.read(ring).await;
        while more {
            // To attach and detach takes its time, and the agent has one thread: other tasks have their turn in between.
            yield_now().await;
            (more, ring) = {
                let mut pipeline = self.pipeline.lock();
                (pipeline.reconcile(), pipeline.ring())
            };
            self.read(ring).await;
        }
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

    /// Runs one task for each ring; a change of sizes replaces the ring.
    async fn read(&mut self, ring: Option<Arc<Ring>>) {
        let same = match (&self.reader, &ring) {
            (Some((old, _)), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some((old, task)) = self.reader.take() {
            task.abort();
            // The task holds the old ring until it has ended. Its error is the abort.
            let _ = task.await;
            drop(old);
        }
        self.reader = ring.map(|ring| {
            let task = reader::read_flows(self.pipeline.clone(), ring.clone(), self.identity.clone());
            (ring, tokio::spawn(task))
        });
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.reader {
            task.abort();
        }
    }
}

/// Differs from start to start.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
