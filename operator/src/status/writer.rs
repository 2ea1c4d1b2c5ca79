//! `StatusWriter`: the one writer of user status. Debounced server-side apply on /status; Events follow a written
//! transition.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use trilobite_crds::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, TracingPolicy,
    TracingPolicyNamespaced, node::SourceKind,
};

use super::{
    debounce::Debounce,
    events::{EventHistory, Recorders},
    user_status::UserStatus,
};
use crate::{
    metrics::{Metrics, PatchResult},
    resource_key::ResourceKey,
};

/// Field manager of user status.
const STATUS_MANAGER: &str = "trilobite-operator-status";
/// A patch that takes longer has failed.
const PATCH_TIMEOUT: Duration = Duration::from_secs(10);
/// A status that is not the one last written is written again after this, unless it was only read late.
const HEAL_DELAY: Duration = Duration::from_secs(2);
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
    recorders: Recorders,
    metrics: Arc<Metrics>,
    debounce: Debounce,
    pending: BTreeMap<ResourceKey, PendingWrite>,
    /// The last written status, with the UID of the object.
    written: BTreeMap<ResourceKey, (String, UserStatus)>,
    /// What was published about each object, with its UID.
    events: BTreeMap<ResourceKey, (String, EventHistory)>,
}

impl StatusWriter {
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>, interval: Duration) -> Self {
        Self {
            recorders: Recorders::new(client.clone()),
            client,
            metrics,
            debounce: Debounce::new(interval),
            pending: BTreeMap::new(),
            written: BTreeMap::new(),
            events: BTreeMap::new(),
        }
    }

    /// Writes until all senders are gone, then everything that is still pending.
    pub(crate) async fn write_until_closed(mut self, mut writes: mpsc::Receiver<StatusWrite>) {
        loop {
            let due = self.pending.values().map(|pending| pending.due).min();
            let event_due = self.events.values().filter_map(|(_, history)| history.next_at).min();
            tokio::select! {
                write = writes.recv() => match write {
                    Some(write) => self.enqueue(write),
                    None => break,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.write_due(Instant::now()).await,
                () = sleep_until(event_due.unwrap_or_else(Instant::now)), if event_due.is_some() => {
                    self.publish_due_events(Instant::now()).await;
                }
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
            // What was last written is desired, but another status was read: another client has edited it.
            if write.current != write.desired && !write.key.kind.is_foreign() {
                let due = Instant::now() + HEAL_DELAY;
                self.pending.insert(write.key.clone(), PendingWrite { write, due, failures: 0 });
            }
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
                Ok(stored) => {
                    self.metrics.record_patch(PatchResult::Ok);
                    let before = self.current(&pending.write);
                    if before == pending.write.desired {
                        self.remove_foreign_fields(&pending.write, &stored).await;
                    }
                    let StatusWrite { uid, desired, .. } = &pending.write;
                    self.publish_events(&key, uid, &before, desired).await;
                    self.debounce.record_write(&key, Instant::now());
                    self.written.insert(key, (pending.write.uid, pending.write.desired));
                }
                // Tetragon's own CRDs have no status, so Events alone say how its policies are.
                Err(WriteError::Gone) if key.kind.is_foreign() => {
                    let before = self.current(&pending.write);
                    let StatusWrite { uid, desired, .. } = &pending.write;
                    self.publish_events(&key, uid, &before, desired).await;
                    self.debounce.record_write(&key, Instant::now());
                    self.written.insert(key, (pending.write.uid, pending.write.desired));
                }
                Err(WriteError::Gone) => {
                    self.metrics.record_patch(PatchResult::Gone);
                    self.written.remove(&key);
                    self.events.remove(&key);
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

    fn api(&self, key: &ResourceKey, resource: &ApiResource) -> Api<DynamicObject> {
        match &key.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    /// Returns the status as stored.
    async fn patch(&self, write: &StatusWrite) -> Result<Value, WriteError> {
        let (key, resource) = (&write.key, api_resource(write.key.kind));
        let api = self.api(key, &resource);
        // The UID keeps the status from a newer object of the same name.
        let body = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": key.name, "uid": write.uid}, "status": write.desired,
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match timeout(PATCH_TIMEOUT, api.patch_status(&key.name, &params, &Patch::Apply(&body))).await {
            Ok(Ok(mut object)) => Ok(object.data["status"].take()),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(WriteError::Gone),
            Ok(Err(error)) => Err(WriteError::Patch(error)),
            Err(_) => Err(WriteError::Timeout),
        }
    }

    /// Removes what another client has added to a status: server-side apply keeps the fields of other managers.
    async fn remove_foreign_fields(&self, write: &StatusWrite, stored: &Value) {
        let desired = json!(write.desired);
        if desired == *stored {
            return;
        }
        let operations = json!([
            {"op": "test", "path": "/metadata/uid", "value": write.uid},
            {"op": "replace", "path": "/status", "value": desired},
        ]);
        let (key, resource) = (&write.key, api_resource(write.key.kind));
        let patch: Result<Patch<()>, _> = serde_json::from_value(operations).map(Patch::Json);
        let result = match patch {
            Ok(patch) => {
                self.api(key, &resource).patch_status(&key.name, &PatchParams::default(), &patch).await.map(|_| ())
            }
            Err(error) => Err(kube::Error::SerdeError(error)),
        };
        if let Err(error) = result {
            tracing::warn!(%key, %error, "removing another client's fields from a status failed");
        }
    }

    async fn publish_events(&mut self, key: &ResourceKey, uid: &str, before: &UserStatus, after: &UserStatus) {
        let resource = api_resource(key.kind);
        let mut object = DynamicObject::new(&key.name, &resource);
        object.metadata.namespace.clone_from(&key.namespace);
        object.metadata.uid = Some(uid.to_owned());
        let reference = object.object_ref(&resource);
        let (known_uid, history) = self.events.entry(key.clone()).or_default();
        if known_uid.as_str() != uid {
            (*known_uid, *history) = (uid.to_owned(), EventHistory::default());
        }
        for event in history.events(before, after, Instant::now()) {
            if let Err(error) = self.recorders.publish(&event, &reference).await {
                tracing::warn!(%key, reason = event.reason, %error, "publishing an Event failed");
            }
        }
    }

    /// Publishes what was written a while ago and was too early for an Event of its own.
    async fn publish_due_events(&mut self, now: Instant) {
        let due = self.events.iter().filter(|(_, (_, history))| history.next_at.is_some_and(|due| due <= now));
        let due: Vec<ResourceKey> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            match self.written.get(&key).cloned() {
                Some((uid, status)) => self.publish_events(&key, &uid, &status, &status).await,
                None => drop(self.events.remove(&key)),
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
        SourceKind::CiliumTracingPolicy => ApiResource::erase::<CiliumTracingPolicy>(&()),
        SourceKind::CiliumTracingPolicyNamespaced => ApiResource::erase::<CiliumTracingPolicyNamespaced>(&()),
        SourceKind::FlowCapture => ApiResource::erase::<FlowCapture>(&()),
        SourceKind::AppProfile => ApiResource::erase::<AppProfile>(&()),
    }
}
