//! Deletes a completed FlowCapture or AppProfile `ttlSecondsAfterFinished` after it has completed.

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
    core::{ApiResource, DynamicObject},
    runtime::controller::Action,
};
use trilobite_crds::condition::{ConditionStatus, ConditionType, find};

use super::{apply::SessionError, resource::TimeLimited};

/// When the object is to be deleted; none if it has not completed, or is kept.
pub(super) fn deletion_time<K: TimeLimited>(object: &K) -> Option<Timestamp> {
    let ttl = SignedDuration::from_secs(object.ttl_seconds_after_finished()?.into());
    let completed = find(&object.common_status()?.conditions, ConditionType::Completed)?;
    let completed = Some(completed).filter(|completed| completed.status == ConditionStatus::True)?;
    completed.last_transition_time.checked_add(ttl).ok()
}

/// Deletes the object, whose time it is.
pub(super) async fn delete<K: TimeLimited>(object: &K, client: &Client) -> Result<Action, SessionError> {
    let (meta, resource) = (object.meta(), ApiResource::erase::<K>(&()));
    let (name, namespace) = (meta.name.clone().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    // Of the version that was read: neither a newer object of the same name nor one whose status has changed.
    let version = Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
    match objects.delete(&name, &DeleteParams::background().preconditions(version)).await {
        Ok(_) => {
            tracing::info!(kind = resource.kind, namespace, name, "deleted after ttlSecondsAfterFinished");
            Ok(Action::await_change())
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Action::await_change()),
        Err(source) => Err(SessionError::Delete { kind: resource.kind, name, source }),
    }
}
