//! The configuration files of a node's parts, as text: pure.

use std::path::Path;

use serde_json::{Value, json};

use crate::addresses::{DNS_SERVICE, NODES_V4, NODES_V6, NodeNumber, PODS_V4, PODS_V6};
use crate::state::State;

/// How pods are joined to the node: one veth pair for each, routed, in both families.
pub(crate) fn pod_network(state: &State, node: NodeNumber) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": node.pods_v4()}], [{"subnet": node.pods_v6()}]],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                    "dataDir": state.node_folder(node).join("pod-addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

pub(crate) fn containerd(state: &State, node: NodeNumber, plugins: &Path) -> String {
    let folder = state.node_folder(node);
    let path = |name: &str| folder.join(name).display().to_string();
    let (root, run, networks) = (path("containerd"), path("run"), path("cni"));
    let (socket, plugins) = (state.containerd_socket(node), plugins.display());
    format!(
        r#"version = 2
root = "{root}"
state = "{run}"
[grpc]
  address = "{}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # A development machine may not let even root lower an OOM score.
  restrict_oom_score_adj = true
  # Below the state folder, where `down` finds them.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{networks}"
"#,
        socket.display()
    )
}

pub(crate) fn kubelet(state: &State, node: NodeNumber) -> Value {
    let folder = state.node_folder(node);
    let pki = |suffix: &str| state.certificates().join(format!("{}{suffix}", node.name()));
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.v4(),
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": state.certificates().join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki(".crt"),
        "tlsPrivateKeyFile": pki(".key"),
        "containerRuntimeEndpoint": format!("unix://{}", state.containerd_socket(node).display()),
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.name()),
        "failCgroupV1": false,
        "failSwapOn": false,
        // A development machine's disk is fuller than a node's may be, and its file system counts no quotas.
        "localStorageCapacityIsolation": false,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "imagefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        // Images come by `load` alone: one that is collected does not come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 20,
        // Its chains in the machine's own tables have no use beside kube-proxy in nftables mode.
        "makeIPTablesUtilChains": false,
        "podLogsDir": folder.join("logs-of-pods"),
        "volumePluginDir": folder.join("volume-plugins"),
    })
}

pub(crate) fn proxy(state: &State, node: NodeNumber) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": format!("{PODS_V4},{PODS_V6}"),
        "nodePortAddresses": [NODES_V4, NODES_V6],
        "clientConnection": {"kubeconfig": state.certificates().join("proxy.kubeconfig")},
        "hostnameOverride": node.name(),
        "metricsBindAddress": "",
        "healthzBindAddress": format!("{}:10256", node.v4()),
        // The machine's connection tracking stays as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ports::Ports;
    use crate::state::{OriginalSettings, Record};

    fn state() -> State {
        let ports = Ports { etcd: 1, etcd_peers: 2, api: 3 };
        let (cache, original) = (PathBuf::from("/cache"), OriginalSettings::default());
        let record = Record { nodes: 2, guest_kernel: None, ports, cache, original };
        State { folder: PathBuf::from("/state"), record }
    }

    #[test]
    fn two_nodes_share_no_file_and_no_address() {
        let node = |number| {
            let node = NodeNumber(number);
            [
                pod_network(&state(), node).to_string(),
                containerd(&state(), node, Path::new("/usr/lib/cni")),
                kubelet(&state(), node).to_string(),
            ]
            .concat()
        };
        let (first, second) = (node(1), node(2));
        for own in ["/state/node2", "10.244.2.0/24", "fd00:244:2::/64", "10.99.0.2", "/node2"] {
            assert!(second.contains(own), "{own} is missing from {second}");
            assert!(!first.contains(own), "{own} is in {first}");
        }
        assert!(!second.contains("node1"));
    }

    #[test]
    fn a_kubelet_has_a_cgroup_root_of_its_own_and_accepts_the_hybrid_layout() {
        let config = kubelet(&state(), NodeNumber(2));
        assert_eq!(config["cgroupRoot"], "/node2");
        assert_eq!(config["failCgroupV1"], false);
        assert_eq!(config["tlsCertFile"], "/state/certificates/node2.crt");
    }

    #[test]
    fn services_are_served_by_nftables_for_both_families() {
        let config = proxy(&state(), NodeNumber(1));
        assert_eq!(config["mode"], "nftables");
        assert_eq!(config["clusterCIDR"], "10.244.0.0/16,fd00:244::/32");
    }
}
