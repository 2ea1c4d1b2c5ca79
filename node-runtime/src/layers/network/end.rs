//! One end of a flow, as it is shown: a pod, a Service, the node, another node, or the world.

use std::sync::Arc;

use super::numeric::{self, Reserved};
use crate::identity::Pod;

/// The cluster's name in labels; one cluster is all an agent knows.
const CLUSTER: &str = "default";

/// One end. Shared by all flows that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Same number for the same labels on every node; below 256 for what is no pod.
    pub identity: u32,
    /// Empty outside the cluster.
    pub namespace: String,
    /// Empty where it is no pod.
    pub pod: String,
    /// `k8s:key=value` and `reserved:name`, sorted.
    pub labels: Vec<String>,
    /// Name and kind of what owns the pod.
    pub workload: Option<(String, String)>,
}

/// A Service, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What stands for it where the packet has its address and no pod's.
    pub end: Arc<End>,
}

impl End {
    /// What is no pod.
    pub fn reserved(kind: Reserved) -> Self {
        Self { identity: kind as u32, labels: vec![format!("reserved:{}", kind.name())], ..Self::default() }
    }

    /// A pod.
    pub fn pod(pod: &Pod) -> Self {
        let labels = labels(&pod.namespace, pod.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        Self {
            identity: numeric::of_labels(&labels),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            labels,
            workload: (!pod.workload.is_empty()).then(|| (pod.workload.clone(), pod.workload_kind.clone())),
        }
    }

    /// What stands for a Service: the labels that it selects by, so that it shares the identity of pods with no others.
    pub fn service<'a>(namespace: &str, name: &str, selector: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        if (namespace, name) == ("default", "kubernetes") {
            return Self { namespace: namespace.to_owned(), ..Self::reserved(Reserved::KubeApiserver) };
        }
        let labels = labels(namespace, selector);
        Self { identity: numeric::of_labels(&labels), namespace: namespace.to_owned(), labels, ..Self::default() }
    }

    /// Bytes that it holds, roughly.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.namespace.len()
            + self.pod.len()
            + self.labels.iter().map(|label| label.len() + size_of::<String>()).sum::<usize>()
            + self.workload.as_ref().map_or(0, |(name, kind)| name.len() + kind.len())
    }
}

/// Labels that differ from pod to pod of one workload tell nothing of who it is.
const OF_ONE_POD: [&str; 8] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "controller-revision-hash",
    "controller-uid",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

fn labels<'a>(namespace: &str, of: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut labels: Vec<String> =
        of.filter(|(key, _)| !OF_ONE_POD.contains(key)).map(|(key, value)| format!("k8s:{key}={value}")).collect();
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
    fn two_replicas_are_one_identity_and_their_service_is_the_same() {
        let [one, other] = [End::pod(&replica("abc")), End::pod(&replica("xyz"))];
        assert_eq!(one.identity, other.identity);
        assert!(one.identity >= 256);
        assert_eq!(one.labels.first().unwrap(), "k8s:app=cart");
        assert!(one.labels.contains(&"k8s:io.kubernetes.pod.namespace=shop".to_owned()));
        assert_eq!(End::service("shop", "cart", [("app", "cart")].into_iter()).identity, one.identity);
    }

    #[test]
    fn the_api_server_has_the_number_that_clients_know() {
        let server = End::service("default", "kubernetes", std::iter::empty());
        assert_eq!((server.identity, server.labels), (7, vec!["reserved:kube-apiserver".to_owned()]));
    }
}
