//! The watch on NodeRuntimes. One that cannot be deserialized is treated as a node without spec and status.

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client,
    core::{DeserializeGuard, ObjectMeta},
    runtime::watcher::{self, Event},
};
use trilobite_crds::node::{NodeRuntime, NodeRuntimeSpec};

use super::registry::{Reflected, WatchRegistry, reflect, watch_objects};
use crate::labels::MANAGER;

/// Annotation in the cache only: when the stack's controller last wrote the spec, in RFC 3339. Copied from
/// `managedFields`, which are not cached.
pub(crate) const SPEC_WRITTEN_AT: &str = "trilobite.dev/spec-written-at";

pub(crate) fn watch_node_runtimes(
    client: &Client,
    registry: &WatchRegistry,
) -> Reflected<NodeRuntime, impl Stream<Item = Result<Event<NodeRuntime>, watcher::Error>> + Send + 'static> {
    let metrics = registry.metrics.clone();
    let guarded = watch_objects(Api::<DeserializeGuard<NodeRuntime>>::all(client.clone()), watcher::Config::default());
    let read = move |object: DeserializeGuard<NodeRuntime>| match object.0 {
        Ok(runtime) => runtime,
        Err(invalid) => {
            metrics.record_malformed("NodeRuntime");
            tracing::warn!(node = invalid.metadata.name, error = invalid.error, "a NodeRuntime cannot be deserialized");
            without_spec(invalid.metadata)
        }
    };
    let events = guarded.map(move |event| {
        event.map(|event| match event {
            Event::Apply(object) => Event::Apply(read(object)),
            Event::Delete(object) => Event::Delete(read(object)),
            Event::InitApply(object) => Event::InitApply(read(object)),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        })
    });
    reflect(events, "NodeRuntime", registry, copy_write_time)
}

fn without_spec(metadata: ObjectMeta) -> NodeRuntime {
    NodeRuntime { metadata, spec: NodeRuntimeSpec::default(), status: None }
}

fn copy_write_time(runtime: &mut NodeRuntime) {
    let meta = &mut runtime.metadata;
    let ours = meta.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let written_at = ours.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max();
    meta.annotations = written_at.map(|time| [(SPEC_WRITTEN_AT.to_owned(), time.to_string())].into());
}

/// When the stack's controller last changed the spec, as recorded by the API server.
pub(crate) fn spec_written_at(runtime: &NodeRuntime) -> Option<jiff::Timestamp> {
    runtime.metadata.annotations.as_ref()?.get(SPEC_WRITTEN_AT)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_write_time_outlives_managed_fields() {
        let entry = |manager: &str, time: &str| {
            json!({"manager": manager, "operation": "Apply", "apiVersion": "trilobite.dev/v1alpha1", "time": time,
                "fieldsType": "FieldsV1", "fieldsV1": {}})
        };
        let entries = [
            entry(MANAGER, "2026-01-01T00:00:10Z"),
            entry("trilobite-node-status", "2026-01-01T00:00:30Z"),
            entry("trilobite-session-7", "2026-01-01T00:00:20Z"),
        ];
        let stored = json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime", "spec": {},
            "metadata": {"name": "reef-1", "managedFields": entries}});
        let mut runtime: NodeRuntime = serde_json::from_value(stored).unwrap();
        copy_write_time(&mut runtime);
        assert_eq!(spec_written_at(&runtime), Some("2026-01-01T00:00:10Z".parse().unwrap()));
    }

    #[test]
    fn a_malformed_node_runtime_has_no_spec() {
        let stored = json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime",
            "metadata": {"name": "reef-1", "uid": "uid-of-reef-1"}, "spec": {"sessions": "some"}});
        let guarded: DeserializeGuard<NodeRuntime> = serde_json::from_value(stored).unwrap();
        let runtime = without_spec(guarded.0.unwrap_err().metadata);
        assert_eq!((runtime.spec.profile_ref, runtime.metadata.uid.as_deref()), (None, Some("uid-of-reef-1")));
    }
}
