//! The nodes' network: a bridge that joins them, a network namespace for each but the first, and what keeps all of the
//! cluster's traffic on this machine. How pods are joined is the node's CNI configuration, not here.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::addresses::{NODES_V4, NODES_V6, NodeNumber, PODS_V4, PODS_V6, SERVICES_V4, SERVICES_V6};
use crate::command::{output, output_of, words};
use crate::error::{Error, Result};
use crate::iptables;
use crate::state::State;

pub(crate) const BRIDGE: &str = "trilo0";
const TABLE: &str = "trilobite-cluster";

/// Ports of node1 in the machine's own network: kubelet's, and kube-proxy's for its health.
const PORTS: [u16; 2] = [10_250, 10_256];

/// Refuses a second cluster with nodes on this machine, and one beside another Kubernetes: `down` could not
/// tell them apart.
pub(crate) fn check_free() -> Result<()> {
    if let Some(owner) = owner() {
        return Err(Error::Refused(format!(
            "the cluster of {} is up on this machine and there is room for one: `down --state {}` first",
            owner.display(),
            owner.display()
        )));
    }
    let taken = PORTS.into_iter().filter(|port| TcpListener::bind(("0.0.0.0", *port)).is_err());
    refuse_if_any([left(), taken.map(|port| format!("port {port}: in use")).collect()].concat())
}

fn refuse_if_any(found: Vec<String>) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "another Kubernetes is on this machine, or left these, and the nodes of this cluster cannot stand beside it:\n  {}\n\
         stop it and remove them (`kubeadm reset`, `k3s-uninstall.sh`; or stop it from starting, and reboot), or take another machine",
        found.join("\n  ")
    )))
}

/// Makes the bridge, what joins each node to it, the routes and the fence.
pub(crate) fn create(state: &State) -> Result<()> {
    words(&format!("ip link add {BRIDGE} type bridge"))?;
    // The alias says whose bridge it is, so that no other state folder takes it down.
    output_of("ip", &["link", "set", BRIDGE, "alias", &state.folder.display().to_string()])?;
    let first = NodeNumber(1);
    words(&format!("ip address add {}/24 dev {BRIDGE}", first.v4()))?;
    words(&format!("ip address add {}/64 dev {BRIDGE} nodad", first.v6()))?;
    words(&format!("ip link set {BRIDGE} up"))?;
    for (family, ranges) in ranges() {
        for range in ranges {
            words(&format!("ip {family} route replace unreachable {range} metric 9999"))?;
        }
    }
    // The first node's own processes ask Services too: the kernel wants a route before kube-proxy gives another target.
    for (family, range) in [("-4", SERVICES_V4), ("-6", SERVICES_V6)] {
        words(&format!("ip {family} route replace {range} dev {BRIDGE}"))?;
    }
    output(Command::new("nft").arg(fence()))?;
    iptables::let_through()?;
    words("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
    state.nodes().skip(1).try_for_each(|node| {
        match state.guest_kernel(node) {
            Some(_) => plug_in(node)?,
            None => join(node)?,
        }
        words(&format!("ip route replace {} via {}", node.pods_v4(), node.v4()))?;
        words(&format!("ip -6 route replace {} via {}", node.pods_v6(), node.v6())).map(|_| ())
    })
}

/// Puts the network card of a guest on the bridge; its addresses and routes are the guest's own.
fn plug_in(node: NodeNumber) -> Result<()> {
    let Some(name) = node.namespace() else { return Ok(()) };
    words(&format!("ip tuntap add {name} mode tap"))?;
    words(&format!("ip link set {name} master {BRIDGE} up")).map(|_| ())
}

/// Gives a node its own network namespace on the bridge.
fn join(node: NodeNumber) -> Result<()> {
    let Some(name) = node.namespace() else { return Ok(()) };
    let (v4, v6, first) = (node.v4(), node.v6(), NodeNumber(1));
    words(&format!("ip netns add {name}"))?;
    words(&format!("ip link add {name} type veth peer name eth0 netns {name}"))?;
    words(&format!("ip link set {name} master {BRIDGE} up"))?;
    for inside in [
        format!("address add {v4}/24 dev eth0"),
        format!("address add {v6}/64 dev eth0 nodad"),
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("route add default via {}", first.v4()),
        format!("-6 route add default via {}", first.v6()),
    ] {
        words(&format!("ip -n {name} {inside}"))?;
    }
    words(&format!("nsenter --net=/run/netns/{name} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"))
        .map(|_| ())
}

fn ranges() -> [(&'static str, [&'static str; 3]); 2] {
    [("-4", [NODES_V4, PODS_V4, SERVICES_V4]), ("-6", [NODES_V6, PODS_V6, SERVICES_V6])]
}

/// What is forwarded must begin and end in the cluster.
fn fence() -> String {
    let rules = ranges().map(|(family, ranges)| {
        let family = if family == "-4" { "ip" } else { "ip6" };
        let all = ranges.join(", ");
        format!(
            "    {family} saddr {{ {all} }} {family} daddr != {{ {all} }} counter reject\n    \
             {family} daddr {{ {all} }} {family} saddr != {{ {all} }} counter reject\n"
        )
    });
    format!(
        "table inet {TABLE} {{\n  chain forward {{\n    type filter hook forward priority 0\n{}  }}\n}}\n",
        rules.concat()
    )
}

/// The state folder of the cluster that has the bridge.
pub(crate) fn owner() -> Option<PathBuf> {
    let path = Path::new("/sys/class/net").join(BRIDGE);
    path.exists().then(|| {
        let alias = std::fs::read_to_string(path.join("ifalias")).unwrap_or_default();
        PathBuf::from(alias.trim())
    })
}

/// Removes all that `create` made and what kube-proxy left; what is not there is fine.
pub(crate) fn remove(nodes: &[NodeNumber]) {
    for name in nodes.iter().filter_map(|node| node.namespace()) {
        let _ = words(&format!("ip link delete {name}"));
        let _ = words(&format!("ip netns delete {name}"));
    }
    let _ = words(&format!("ip link delete {BRIDGE}"));
    for (family, ranges) in ranges() {
        for range in ranges {
            let _ = words(&format!("ip {family} route delete unreachable {range} metric 9999"));
        }
    }
    let _ = words(&format!("nft delete table inet {TABLE}"));
    for family in ["ip", "ip6"] {
        let _ = words(&format!("nft delete table {family} kube-proxy"));
    }
}

/// Parts of a cluster's network that exist: after `down` they were left, before `up` they are another program's.
pub(crate) fn left() -> Vec<String> {
    let of = |kind: &str, command: &str, is_one: &dyn Fn(&str) -> bool| -> Vec<String> {
        let text = words(command).unwrap_or_default();
        text.lines().map(str::trim).filter(|line| is_one(line)).map(|line| format!("{kind}: {line}")).collect()
    };
    let has = |marks: &'static [&str]| move |line: &str| marks.iter().any(|mark| line.contains(mark));
    [
        of("interface", "ip -o link", &has(&["trilo"])),
        of("network namespace", "ip netns", &has(&["trilo-", "cni-"])),
        of("route", "ip -4 route", &is_route),
        of("route", "ip -6 route", &is_route),
        of("nft table", "nft list tables", &has(&[TABLE, "kube-proxy"])),
        // Of kubelet, and of the port mappings of pods that had a hostPort.
        of("nft chain", "nft list chains", &has(&["chain KUBE-", "chain CNI-"])),
        of("nft rule", "nft list ruleset", &has(&[PODS_V4, PODS_V6])),
    ]
    .concat()
}

/// A route into the cluster's ranges, by its destination: `unreachable 10.96.0.0/16 ...`, `10.99.0.0/24 dev trilo0 ...`.
fn is_route(line: &str) -> bool {
    let destination = line.split(' ').find(|word| word.contains(['.', ':'])).unwrap_or_default();
    let within = ["10.244.", "10.96.", "10.99.0.", "fd00:244:", "fd00:96:", "fd00:99:"];
    !line.starts_with("default") && within.iter().any(|range| destination.starts_with(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_of_the_cluster_by_where_it_leads_and_not_by_its_way() {
        for ours in [
            "unreachable 10.96.0.0/16 metric 9999",
            "10.99.0.0/24 dev trilo0 proto kernel scope link src 10.99.0.1",
            "10.244.2.0/24 via 10.99.0.2 dev trilo0",
            "fd00:244:2::/64 via fd00:99::2 dev trilo0 metric 1024 pref medium",
        ] {
            assert!(is_route(ours), "{ours}");
        }
        for strange in [
            "default via 10.99.0.1 dev eth0",
            "10.99.7.0/24 dev eth0 proto kernel scope link src 10.99.7.2",
            "192.0.2.0/24 via 10.96.0.9 dev eth0",
            "110.96.0.0/16 dev eth0",
            "fe80::/64 dev eth0 proto kernel metric 256 pref medium",
        ] {
            assert!(!is_route(strange), "{strange}");
        }
    }

    #[test]
    fn network_of_another_kubernetes_is_named() {
        assert!(refuse_if_any(Vec::new()).is_ok());
        let said = refuse_if_any(vec!["nft chain: chain KUBE-FIREWALL {".to_owned()]).unwrap_err().to_string();
        assert!(said.contains("KUBE-FIREWALL") && said.contains("kubeadm reset"), "{said}");
    }

    #[test]
    fn what_is_forwarded_must_begin_and_end_in_the_cluster_in_both_families() {
        let text = fence();
        for range in [NODES_V4, PODS_V4, SERVICES_V4, NODES_V6, PODS_V6, SERVICES_V6] {
            assert_eq!(text.matches(range).count(), 4, "{range} in {text}");
        }
        assert_eq!(text.matches("reject").count(), 4);
    }
}
