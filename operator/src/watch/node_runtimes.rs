//! The watch on NodeRuntimes. One that this version cannot read breaks nothing: it stands as a node that was told nothing and
//! says nothing.

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client,
    core::ObjectMeta,
    runtime::watcher::{self, Event},
};
use trilobite_crds::node::{NodeRuntime, NodeRuntimeSpec};

use super::{Book, Guarded, Kept, keep, watched};
use crate::children::MANAGER;

/// When the stack's controller last wrote it, in RFC 3339: kept of `managedFields`, which is dropped.
pub(crate) const TOLD_AT: &str = "trilobite.dev/told-at";

/// Every NodeRuntime.
pub(crate) fn watch(
    client: &Client,
    book: &Book,
) -> Kept<NodeRuntime, impl Stream<Item = Result<Event<NodeRuntime>, watcher::Error>> + Send + 'static> {
    let metrics = book.metrics.clone();
    let guarded = watched(Api::<Guarded<NodeRuntime>>::all(client.clone()), watcher::Config::default());
    let read = move |object: Guarded<NodeRuntime>| match object.0 {
        Ok(runtime) => runtime,
        Err(invalid) => {
            metrics.malformed("NodeRuntime");
            tracing::warn!(node = invalid.metadata.name, error = invalid.error, "a NodeRuntime cannot be read");
            bare(invalid.metadata)
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
    keep(events, "NodeRuntime", book, keep_the_time)
}

fn bare(metadata: ObjectMeta) -> NodeRuntime {
    NodeRuntime { metadata, spec: NodeRuntimeSpec::default(), status: None }
}

fn keep_the_time(runtime: &mut NodeRuntime) {
    let meta = &mut runtime.metadata;
    let ours = meta.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let told_at = ours.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max();
    meta.annotations = told_at.map(|time| [(TOLD_AT.to_owned(), time.to_string())].into());
}

/// When the stack's controller last told the node something else, as far as the API server remembers.
pub(crate) fn told_at(runtime: &NodeRuntime) -> Option<jiff::Timestamp> {
    runtime.metadata.annotations.as_ref()?.get(TOLD_AT)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_time_at_which_a_node_was_told_outlives_the_fields_that_say_it() {
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
        keep_the_time(&mut runtime);
        assert_eq!(told_at(&runtime), Some("2026-01-01T00:00:10Z".parse().unwrap()));
    }

    #[test]
    fn one_that_cannot_be_read_is_a_node_that_was_told_nothing() {
        let stored = json!({"apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime",
            "metadata": {"name": "reef-1", "uid": "uid-of-reef-1"}, "spec": {"sessions": "some"}});
        let guarded: Guarded<NodeRuntime> = serde_json::from_value(stored).unwrap();
        let runtime = bare(guarded.0.unwrap_err().metadata);
        assert_eq!((runtime.spec.profile_ref, runtime.metadata.uid.as_deref()), (None, Some("uid-of-reef-1")));
    }
}
