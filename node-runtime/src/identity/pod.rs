//! Pods and containers as the layers need them: pruned, shared, immutable.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// A pod of this node or, for flows, of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// API uid.
    pub uid: String,
    /// What cgroup paths call it: the uid, or for a static pod the `kubernetes.io/config.hash` (a mirror pod's own uid differs).
    pub cgroup_uid: String,
    /// When it was made; none of what an older agent has kept.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// Namespace.
    pub namespace: String,
    /// Name; empty where there is no cluster that could tell it.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the workload that owns it (a Deployment rather than its ReplicaSet), or the pod's own name.
    pub workload: String,
    /// Kind of that workload, `Pod` where it has no owner.
    pub workload_kind: String,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Node it runs on.
    pub node: String,
    /// Shares the host's network.
    pub host_network: bool,
    /// It has run to its end: no process of it is left, and its addresses may be another's.
    #[serde(default)]
    pub ended: bool,
    /// Its containers, init and ephemeral ones included.
    pub containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Name in the pod's spec.
    pub name: String,
    /// `containerd://<64 hex>`; empty until the kubelet has said so.
    pub id: String,
    /// Image as named.
    pub image: String,
    /// Image by digest.
    pub image_id: String,
    /// RFC 3339 start time, empty until started.
    pub started_at: String,
    /// `securityContext.privileged`.
    pub privileged: bool,
}

/// One container, with its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container; none for the pod's own cgroup and the sandbox.
    pub container: Option<Container>,
    /// Container id as the cgroup has it (64 hex); empty for the pod's own cgroup.
    pub container_id: String,
}

/// To whom a cgroup belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A pod of this node.
    Pod(Arc<PodContainer>),
    /// The node itself: no pod.
    Host,
    /// A pod of this node of which only the cgroup's name speaks so far: uid and container id.
    Unnamed(Arc<PodContainer>),
    /// A cgroup that has not been seen yet: nobody knows whether it is a pod's.
    Undecided,
    /// Outside this node's cgroup tree: another node on the same kernel.
    Elsewhere,
}
