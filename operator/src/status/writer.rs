//! The one writer of user status: debounced, server-side apply on /status, Events after a transition was written.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
    runtime::events::{Recorder, Reporter},
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, node::SourceKind,
};

use super::{Key, Written, debounce::Debounce, events};
use crate::metrics::{Metrics, Patched};

/// Field manager of user status.
const MANAGER: &str = "trilobite-operator-status";
/// A patch that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A patch that failed is tried again after this, then after twice as long, up to a minute.
const RETRY: Duration = Duration::from_secs(1);

/// One status to write.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) uid: String,
    /// What the API server had when the resource was first looked at.
    pub(crate) standing: Written,
    pub(crate) wanted: Written,
}

#[derive(Debug)]
struct Waiting {
    write: Write,
    due: Instant,
    failures: u32,
}

/// Owns all writes.
pub(crate) struct Writer {
    client: Client,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    debounce: Debounce,
    waiting: BTreeMap<Key, Waiting>,
    written: BTreeMap<Key, (String, Written)>,
}

/// Who Events are from.
pub(crate) fn reporter() -> Reporter {
    Reporter { controller: "trilobite-operator".into(), instance: std::env::var("HOSTNAME").ok() }
}

impl Writer {
    pub(crate) fn new(client: Client, recorder: Recorder, metrics: Arc<Metrics>, interval: Duration) -> Self {
        let debounce = Debounce::new(interval);
        Self { client, recorder, metrics, debounce, waiting: BTreeMap::new(), written: BTreeMap::new() }
    }

    /// Writes until nobody sends any more, then what still waits.
    pub(crate) async fn run(mut self, mut writes: mpsc::Receiver<Write>) {
        loop {
            let due = self.waiting.values().map(|waiting| waiting.due).min();
            tokio::select! {
                write = writes.recv() => match write {
                    Some(write) => self.take(write),
                    None => break,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.write_due(Instant::now()).await,
            }
            self.metrics.status_queue(self.waiting.len());
        }
        for waiting in self.waiting.values_mut() {
            waiting.due = Instant::now();
        }
        self.write_due(Instant::now()).await;
    }

    fn take(&mut self, write: Write) {
        let before = self.before(&write);
        if before == write.wanted {
            self.waiting.remove(&write.key);
            return;
        }
        let due = self.debounce.due(&write.key, &before, &write.wanted, Instant::now());
        let waiting = self.waiting.get(&write.key).filter(|waiting| waiting.write.uid == write.uid);
        let (due, failures) = match waiting {
            None => (due, 0),
            // Changes that never pause must not push it away for ever.
            Some(Waiting { due: earlier, failures: 0, .. }) => (due.min(*earlier), 0),
            // News does not make the API server well.
            Some(Waiting { due: again, failures, .. }) => (*again, *failures),
        };
        self.waiting.insert(write.key.clone(), Waiting { write, due, failures });
    }

    fn before(&self, write: &Write) -> Written {
        let written = self.written.get(&write.key).filter(|(uid, _)| *uid == write.uid);
        written.map_or_else(|| write.standing.clone(), |(_, written)| written.clone())
    }

    async fn write_due(&mut self, now: Instant) {
        let due: Vec<Key> =
            self.waiting.iter().filter(|(_, waiting)| waiting.due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(mut waiting) = self.waiting.remove(&key) else { continue };
            match self.patch(&waiting.write).await {
                Ok(()) => {
                    self.metrics.patched(Patched::Ok);
                    let before = self.before(&waiting.write);
                    self.tell(&waiting.write, &before).await;
                    self.debounce.wrote(&key, Instant::now());
                    self.written.insert(key, (waiting.write.uid, waiting.write.wanted));
                }
                Err(WriteError::Gone) => {
                    self.metrics.patched(Patched::Gone);
                    self.written.remove(&key);
                    self.debounce.forget(&key);
                }
                Err(error) => {
                    self.metrics.patched(Patched::Error);
                    tracing::warn!(%key, %error, "writing a status; it will be tried again");
                    waiting.due = Instant::now() + RETRY * 2u32.pow(waiting.failures.min(6));
                    waiting.failures += 1;
                    self.waiting.insert(key, waiting);
                }
            }
        }
    }

    async fn patch(&self, write: &Write) -> Result<(), WriteError> {
        let (key, resource) = (&write.key, api_resource(write.key.kind));
        let api: Api<DynamicObject> = match &key.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        // With the uid, an object of the same name that was made in between is not given another's status.
        let body = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": key.name, "uid": write.uid}, "status": write.wanted,
        });
        let params = PatchParams::apply(MANAGER).force();
        match timeout(PATIENCE, api.patch_status(&key.name, &params, &Patch::Apply(&body))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(WriteError::Gone),
            Ok(Err(error)) => Err(WriteError::Patch(error)),
            Err(_) => Err(WriteError::Late),
        }
    }

    async fn tell(&self, write: &Write, before: &Written) {
        let resource = api_resource(write.key.kind);
        let mut object = DynamicObject::new(&write.key.name, &resource);
        object.metadata.namespace.clone_from(&write.key.namespace);
        object.metadata.uid = Some(write.uid.clone());
        let reference = object.object_ref(&resource);
        for event in events::transitions(before, &write.wanted) {
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::warn!(key = %write.key, reason = event.reason, %error, "publishing an Event");
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the object is gone")]
    Gone,
    #[error("no answer in {} s", PATIENCE.as_secs())]
    Late,
    #[error(transparent)]
    Patch(kube::Error),
}

fn api_resource(kind: SourceKind) -> ApiResource {
    match kind {
        SourceKind::ObservabilityStack => ApiResource::erase::<ObservabilityStack>(&()),
        SourceKind::TracingPolicy => ApiResource::erase::<TracingPolicy>(&()),
        SourceKind::TracingPolicyNamespaced => ApiResource::erase::<TracingPolicyNamespaced>(&()),
        SourceKind::FlowCapture => ApiResource::erase::<FlowCapture>(&()),
        SourceKind::AppProfile => ApiResource::erase::<AppProfile>(&()),
    }
}
