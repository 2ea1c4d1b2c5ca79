//! The endpoint of a flow as it is shown: a pod, a Service, this node, another node, the world, or unknown.

mod connection_end;
pub mod identity;
pub(super) mod veth;

use std::sync::Arc;

pub use connection_end::{AddressOwner, ConnectionEnd};
pub use identity::Reserved;

use crate::identity::Pod;

/// The cluster's name in labels; an agent knows one cluster.
const CLUSTER: &str = "default";
/// The start of the label of an endpoint that is no pod.
const RESERVED: &str = "reserved:";

/// Shared by all flows of the same pod, node or Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The same number for the same labels on every node; below 256 for what is not a pod.
    pub identity: u32,
    /// Empty outside the cluster.
    pub namespace: String,
    /// Empty if it is not a pod.
    pub pod: String,
    /// The pod's uid: tells it from a later pod of the same name.
    pub uid: String,
    /// `k8s:key=value` and `reserved:name`, sorted.
    pub labels: Vec<String>,
    /// Name and kind of the pod's owner.
    pub workload: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub namespace: String,
    /// Shown where the packet has the Service's address and not a pod's.
    pub endpoint: Arc<Endpoint>,
}

impl Endpoint {
    pub fn reserved(kind: Reserved) -> Self {
        Self { identity: kind as u32, labels: vec![format!("{RESERVED}{}", kind.name())], ..Self::default() }
    }

    pub fn pod(pod: &Pod) -> Self {
        let labels = labels(&pod.namespace, pod.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        Self {
            identity: identity::from_labels(&labels),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            labels,
            workload: (!pod.workload.is_empty()).then(|| (pod.workload.clone(), pod.workload_kind.clone())),
        }
    }

    /// Has the labels that the Service selects by, so that it shares the identity of pods with no other labels.
    pub fn service<'a>(namespace: &str, name: &str, selector: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        if (namespace, name) == ("default", "kubernetes") {
            return Self { namespace: namespace.to_owned(), ..Self::reserved(Reserved::KubeApiserver) };
        }
        let labels = labels(namespace, selector);
        Self { identity: identity::from_labels(&labels), namespace: namespace.to_owned(), labels, ..Self::default() }
    }

    /// Empty for what is no pod and no Service.
    pub fn cluster_name(&self) -> &'static str {
        if Reserved::is_reserved(self.identity) { "" } else { CLUSTER }
    }

    /// What kind of endpoint it is, if it is no pod: `Reserved::name`.
    pub fn reserved_name(&self) -> Option<&str> {
        self.labels.iter().find_map(|label| label.strip_prefix(RESERVED))
    }

    /// The same pod, or both are the same kind of node.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.uid, &self.namespace, &self.pod) == (&other.uid, &other.namespace, &other.pod)
    }
}

impl Service {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

/// Labels that differ between the pods of one workload and are no part of its identity.
const PER_POD_LABELS: [&str; 8] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "controller-revision-hash",
    "controller-uid",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

fn labels<'a>(namespace: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let shared = labels.filter(|(key, _)| !PER_POD_LABELS.contains(key));
    let mut labels: Vec<String> = shared.map(|(key, value)| format!("k8s:{key}={value}")).collect();
    labels.push(format!("k8s:io.cilium.k8s.policy.cluster={CLUSTER}"));
    labels.push(format!("k8s:io.kubernetes.pod.namespace={namespace}"));
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(hash: &str) -> Pod {
        Pod {
            namespace: "shop".into(),
            name: format!("cart-{hash}"),
            labels: [("app", "cart"), ("pod-template-hash", hash)].map(|(k, v)| (k.into(), v.into())).into(),
            workload: "cart".into(),
            workload_kind: "Deployment".into(),
            ..Pod::default()
        }
    }

    #[test]
    fn replicas_and_their_service_share_one_identity() {
        let [one, other] = [Endpoint::pod(&replica("abc")), Endpoint::pod(&replica("xyz"))];
        assert_eq!(one.identity, other.identity);
        assert!(one.identity >= 256);
        assert_eq!(one.labels.first().unwrap(), "k8s:app=cart");
        assert!(one.labels.contains(&"k8s:io.kubernetes.pod.namespace=shop".to_owned()));
        assert_eq!(Endpoint::service("shop", "cart", [("app", "cart")].into_iter()).identity, one.identity);
    }

    #[test]
    fn api_server_has_the_reserved_identity_number() {
        let server = Endpoint::service("default", "kubernetes", std::iter::empty());
        assert_eq!((server.identity, server.labels), (7, vec!["reserved:kube-apiserver".to_owned()]));
    }
}
