//! `StatusWriter`: the one writer of user status. Debounced server-side apply on /status; Events follow a written
//! transition.

#[cfg(test)]
mod tests;

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

use super::{debounce::Debounce, events, user_status::UserStatus};
use crate::{
    metrics::{Metrics, PatchResult},
    resource_key::ResourceKey,
};

/// Field manager of user status.
const STATUS_MANAGER: &str = "trilobite-operator-status";
/// A patch that takes longer has failed.
const PATCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay after the first failed patch; it doubles up to about a minute.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct StatusWrite {
    pub(crate) key: ResourceKey,
    pub(crate) uid: String,
    /// What the API server had when the resource was last reconciled.
    pub(crate) current: UserStatus,
    pub(crate) desired: UserStatus,
}

#[derive(Debug)]
struct PendingWrite {
    write: StatusWrite,
    due: Instant,
    failures: u32,
}

pub(crate) struct StatusWriter {
    client: Client,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    debounce: Debounce,
    pending: BTreeMap<ResourceKey, PendingWrite>,
    /// The last written status, with the UID of the object.
    written: BTreeMap<ResourceKey, (String, UserStatus)>,
}

pub(crate) fn event_reporter() -> Reporter {
    Reporter { controller: "trilobite-operator".into(), instance: std::env::var("HOSTNAME").ok() }
}

impl StatusWriter {
    pub(crate) fn new(client: Client, recorder: Recorder, metrics: Arc<Metrics>, interval: Duration) -> Self {
        let debounce = Debounce::new(interval);
        Self { client, recorder, metrics, debounce, pending: BTreeMap::new(), written: BTreeMap::new() }
    }

    /// Writes until all senders are gone, then everything that is still pending.
    pub(crate) async fn write_until_closed(mut self, mut writes: mpsc::Receiver<StatusWrite>) {
        loop {
            let due = self.pending.values().map(|pending| pending.due).min();
            tokio::select! {
                write = writes.recv() => match write {
                    Some(write) => self.enqueue(write),
                    None => break,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.write_due(Instant::now()).await,
            }
            self.metrics.set_status_queue(self.pending.len());
        }
        for pending in self.pending.values_mut() {
            pending.due = Instant::now();
        }
        self.write_due(Instant::now()).await;
    }

    fn enqueue(&mut self, write: StatusWrite) {
        let current = self.current(&write);
        if current == write.desired {
            self.pending.remove(&write.key);
            return;
        }
        let due = self.debounce.due(&write.key, &current, &write.desired, Instant::now());
        let pending = self.pending.get(&write.key).filter(|pending| pending.write.uid == write.uid);
        let (due, failures) = match pending {
            None => (due, 0),
            // Continuous changes must not postpone the write forever.
            Some(PendingWrite { due: earlier, failures: 0, .. }) => (due.min(*earlier), 0),
            // After a failure the retry delay applies, whatever changes meanwhile.
            Some(PendingWrite { due: retry_at, failures, .. }) => (*retry_at, *failures),
        };
        self.pending.insert(write.key.clone(), PendingWrite { write, due, failures });
    }

    /// The status in the API server: what was last written, or else what was read.
    fn current(&self, write: &StatusWrite) -> UserStatus {
        let written = self.written.get(&write.key).filter(|(uid, _)| *uid == write.uid);
        written.map_or_else(|| write.current.clone(), |(_, status)| status.clone())
    }

    async fn write_due(&mut self, now: Instant) {
        let due = self.pending.iter().filter(|(_, pending)| pending.due <= now);
        let due: Vec<ResourceKey> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(mut pending) = self.pending.remove(&key) else { continue };
            match self.patch(&pending.write).await {
                Ok(()) => {
                    self.metrics.record_patch(PatchResult::Ok);
                    let before = self.current(&pending.write);
                    self.publish_events(&pending.write, &before).await;
                    self.debounce.record_write(&key, Instant::now());
                    self.written.insert(key, (pending.write.uid, pending.write.desired));
                }
                Err(WriteError::Gone) => {
                    self.metrics.record_patch(PatchResult::Gone);
                    self.written.remove(&key);
                    self.debounce.forget(&key);
                }
                Err(error) => {
                    self.metrics.record_patch(PatchResult::Error);
                    tracing::warn!(%key, %error, "writing a status failed; it will be retried");
                    pending.due = Instant::now() + RETRY * 2u32.pow(pending.failures.min(6));
                    pending.failures += 1;
                    self.pending.insert(key, pending);
                }
            }
        }
    }

    async fn patch(&self, write: &StatusWrite) -> Result<(), WriteError> {
        let (key, resource) = (&write.key, api_resource(write.key.kind));
        let api: Api<DynamicObject> = match &key.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        // The UID keeps the status from a newer object of the same name.
        let body = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": key.name, "uid": write.uid}, "status": write.desired,
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match timeout(PATCH_TIMEOUT, api.patch_status(&key.name, &params, &Patch::Apply(&body))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(WriteError::Gone),
            Ok(Err(error)) => Err(WriteError::Patch(error)),
            Err(_) => Err(WriteError::Timeout),
        }
    }

    async fn publish_events(&self, write: &StatusWrite, before: &UserStatus) {
        let resource = api_resource(write.key.kind);
        let mut object = DynamicObject::new(&write.key.name, &resource);
        object.metadata.namespace.clone_from(&write.key.namespace);
        object.metadata.uid = Some(write.uid.clone());
        let reference = object.object_ref(&resource);
        for event in events::transitions(before, &write.desired) {
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::warn!(key = %write.key, reason = event.reason, %error, "publishing an Event failed");
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the object is gone")]
    Gone,
    #[error("no response in {} s", PATCH_TIMEOUT.as_secs())]
    Timeout,
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
