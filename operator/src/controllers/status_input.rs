//! Makes the `StatusInput` of a user resource, also of one that cannot be deserialized.

use kube::{core::error_boundary::InvalidObject, runtime::controller::Action};
use trilobite_crds::{Reason, Refusal, UserKind, node::Source};

use crate::{
    context::Context,
    resource_key::ResourceKey,
    status::{ControllerReport, Requested, StatusInput, UserResource, UserStatus, messages},
};

pub(super) fn status_input<K: UserResource>(object: &K, refusals: Vec<Refusal>, requested: Requested) -> StatusInput {
    StatusInput {
        source: object.source(),
        uid: object.meta().uid.clone().unwrap_or_default(),
        current_status: object.user_status(),
        refusals,
        suspended: false,
        asks_for_requests: object.asks_for_requests(),
        standing: None,
        requested,
    }
}

/// The status that the API server has of a resource whose status stays as it was computed last.
pub(super) fn status_read<K: UserResource>(object: &K) -> ControllerReport {
    ControllerReport::StatusRead {
        key: ResourceKey::from(&object.source()),
        uid: object.meta().uid.clone().unwrap_or_default(),
        status: Box::new(object.user_status()),
    }
}

/// Reports an object that this version cannot deserialize. `kind` is the label of the metric.
pub(super) async fn report_unreadable<K: UserKind>(
    object: &InvalidObject,
    kind: &'static str,
    context: &Context,
) -> Action {
    context.metrics.record_malformed(kind);
    context.report(ControllerReport::Resource(Box::new(unreadable_input::<K>(object)))).await;
    Action::await_change()
}

fn unreadable_input<K: UserKind>(object: &InvalidObject) -> StatusInput {
    let meta = &object.metadata;
    let source = Source {
        kind: K::SOURCE_KIND,
        namespace: meta.namespace.clone(),
        name: meta.name.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(1),
    };
    let refusal = Refusal::new(&source, Reason::InvalidSpec, "spec", messages::unreadable(&object.error));
    StatusInput {
        uid: meta.uid.clone().unwrap_or_default(),
        current_status: UserStatus::default(),
        refusals: vec![refusal],
        suspended: false,
        asks_for_requests: false,
        standing: None,
        requested: Requested::Nothing,
        source,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use trilobite_crds::FlowCapture;

    use super::*;

    #[test]
    fn an_unreadable_object_is_refused_in_its_status() {
        let stored = serde_json::json!({
            "apiVersion": "trilobite.dev/v1alpha1", "kind": "FlowCapture",
            "metadata": {"name": "ink", "namespace": "payments", "generation": 2, "uid": "uid-of-ink"},
            "spec": {"podSelector": {}, "durationSeconds": "soon"},
        });
        let guarded: DeserializeGuard<FlowCapture> = serde_json::from_value(stored).unwrap();
        let input = unreadable_input::<FlowCapture>(&guarded.0.unwrap_err());
        assert_eq!(input.source.to_string(), "FlowCapture/payments/ink");
        assert_eq!((input.source.generation, input.uid.as_str()), (2, "uid-of-ink"));
        assert_eq!(input.refusals[0].reason, Reason::InvalidSpec);
        assert!(input.refusals[0].message.starts_with("cannot be read: "), "{}", input.refusals[0].message);
        assert_eq!(input.requested, Requested::Nothing);
    }
}
