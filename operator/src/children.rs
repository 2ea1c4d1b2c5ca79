//! Names, labels and owners of what the operator makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;

/// The agents.
pub(crate) const DAEMON_SET: &str = "trilobite-node";
/// Field manager of what the operator makes.
pub(crate) const MANAGER: &str = "trilobite-operator";
/// Who made an object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Digest of the template that an agent's pod was made from, so that a pod of an older one is told from the others.
pub(crate) const TEMPLATE: &str = "trilobite.dev/template";

/// Labels that select the agents' pods; they can never change.
pub(crate) fn selector() -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "trilobite-node"), ("app.kubernetes.io/part-of", "trilobite")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Labels of everything that the operator makes.
pub(crate) fn labels() -> BTreeMap<String, String> {
    let mut labels = selector();
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// Metadata of the DaemonSet, and of what stands beside it under the same name.
pub(crate) fn of_agents(namespace: &str, owner: &OwnerReference) -> ObjectMeta {
    ObjectMeta {
        name: Some(DAEMON_SET.into()),
        namespace: Some(namespace.into()),
        labels: Some(labels()),
        owner_references: Some(vec![owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// An owner whose deletion deletes, and that blocks nobody.
pub(crate) fn owner(api_version: &str, kind: &str, name: &str, uid: &str, controller: bool) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
        controller: controller.then_some(true),
        block_owner_deletion: None,
    }
}
