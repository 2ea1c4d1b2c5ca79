//! Names, labels, annotations and owner references of the objects that the operator creates.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use trilobite_crds::read_api::{AGENT, RELAY};

/// Name of the agents' DaemonSet, and of the ConfigMap and Service beside it.
pub(crate) const DAEMON_SET: &str = AGENT;
/// Field manager of created objects, and value of their label `MANAGED_BY`.
pub(crate) const MANAGER: &str = "trilobite-operator";
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Label of an agent's pod: digest of the pod template, which tells pods of an older template from current ones.
pub(crate) const TEMPLATE: &str = "trilobite.dev/template";

/// Label of a namespace that asks for an AppProfile; its values are joined by dots.
pub(crate) const APP_PROFILE_LABEL: &str = "trilobite.dev/app-profile";
/// Name of the AppProfile that is created from the label.
pub(crate) const APP_PROFILE_FROM_LABEL: &str = "from-label";

/// Selector of the agents' pods. A DaemonSet's selector is immutable, so these labels must not change.
pub(crate) fn agent_selector() -> BTreeMap<String, String> {
    selector(DAEMON_SET)
}

/// The same selector as the query of a list or watch.
pub(crate) fn agent_selector_query() -> String {
    query(&agent_selector())
}

/// Selector of the relay's pods, which is immutable too.
pub(crate) fn relay_selector() -> BTreeMap<String, String> {
    selector(RELAY)
}

/// Labels of the operator's own pod, which the chart sets.
pub(crate) fn operator_selector() -> BTreeMap<String, String> {
    selector(MANAGER)
}

/// The same selector as the query of a list.
pub(crate) fn relay_selector_query() -> String {
    query(&relay_selector())
}

/// Pods of the agents and of the relay.
pub(crate) fn pods_query() -> String {
    format!("app.kubernetes.io/name in ({DAEMON_SET},{RELAY}),app.kubernetes.io/part-of=trilobite")
}

fn selector(name: &str) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", name), ("app.kubernetes.io/part-of", "trilobite")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn query(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Metadata of an object of the relay.
pub(crate) fn relay_metadata(name: &str, namespace: Option<&str>, owner: &OwnerReference) -> ObjectMeta {
    metadata(name, namespace, managed(relay_selector()), owner)
}

/// Labels of every created object that is not the relay's.
pub(crate) fn common_labels() -> BTreeMap<String, String> {
    managed(agent_selector())
}

fn managed(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// Metadata of the DaemonSet, and of the ConfigMap and Service of the same name.
pub(crate) fn agent_metadata(namespace: &str, owner: &OwnerReference) -> ObjectMeta {
    metadata(DAEMON_SET, Some(namespace), common_labels(), owner)
}

fn metadata(
    name: &str,
    namespace: Option<&str>,
    labels: BTreeMap<String, String>,
    owner: &OwnerReference,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: namespace.map(String::from),
        labels: Some(labels),
        owner_references: Some(vec![owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// An owner reference that garbage-collects the object with its owner and does not block the owner's deletion.
pub(crate) fn owner_reference(
    api_version: &str,
    kind: &str,
    name: &str,
    uid: &str,
    controller: bool,
) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
        controller: controller.then_some(true),
        block_owner_deletion: None,
    }
}
