//! Pods and containers as the layers need them: pruned, shared, immutable.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// A pod of this node or, for flows, of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// API uid.
    pub uid: String,
    /// The uid in cgroup paths: the API uid, or for a static pod the `kubernetes.io/config.hash` (a mirror pod's own uid differs).
    pub cgroup_uid: String,
    /// Creation time; none in the state file of an older agent.
    #[serde(default)]
    pub created: Option<Timestamp>,
    pub namespace: String,
    /// Empty without a cluster.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Name of the workload that owns it (the Deployment, not its ReplicaSet), or the pod's own name.
    pub workload: String,
    /// Kind of that workload, `Pod` where it has no owner.
    pub workload_kind: String,
    pub ips: Vec<IpAddr>,
    pub node: String,
    pub host_network: bool,
    /// Its phase is Succeeded or Failed: no process is left, and another pod may have its addresses.
    #[serde(default)]
    pub ended: bool,
    /// Its annotation asks to leave its TLS alone.
    #[serde(default)]
    pub tls_capture_off: bool,
    /// Init and ephemeral containers included.
    pub containers: Vec<Container>,
}

impl Pod {
    /// The container that has this id, 64 hex digits of a cgroup's name.
    pub(in crate::identity) fn container(&self, container_id: &str) -> Option<&Container> {
        let has_id = |id: &str| !container_id.is_empty() && id.rsplit("//").next() == Some(container_id);
        self.containers.iter().find(|container| has_id(&container.id))
    }
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub name: String,
    /// `containerd://<64 hex>`; empty until the kubelet reports it.
    pub id: String,
    pub image: String,
    /// The image with its digest.
    pub image_id: String,
    /// RFC 3339 start time, empty until started.
    pub started_at: String,
    pub privileged: bool,
    /// Commands of its liveness, readiness and startup probes; none in the state file of an older agent.
    #[serde(default)]
    pub exec_probes: Vec<Vec<String>>,
}

/// A container together with its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    pub pod: Arc<Pod>,
    /// None for the pod's own cgroup and the sandbox.
    pub container: Option<Container>,
    /// Container id in the cgroup's name (64 hex); empty for the pod's own cgroup.
    pub container_id: String,
}

/// The owner of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A pod of this node.
    Pod(Arc<PodContainer>),
    /// The node itself: no pod.
    Host,
    /// A pod of this node of which only the cgroup is known so far: uid and container id.
    Unnamed(Arc<PodContainer>),
    /// A cgroup that was not seen yet: it may be a pod's.
    Unknown,
    /// Outside of this node's cgroup tree: another node on the same kernel.
    Elsewhere,
}
