//! Which kernels are met, and where Debian keeps each. Not what is expected of them: the smoke tests say that.

use std::str::FromStr;

/// One supported kernel series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Its first two numbers, which every option and directory uses as its name.
    pub(crate) series: &'static str,
    /// The Debian suite whose `linux-image-cloud-amd64` is of this series.
    pub(crate) suite: &'static str,
    /// Which of Debian's two archives holds the suite.
    pub(crate) archive: Archive,
    /// The processor that QEMU emulates.
    pub(crate) processor: &'static str,
}

/// QEMU 7.2's cmpxchg16b corrupts the slab allocator of 6.12.
const WITHOUT_CX16: &str = "max,cx16=off";
/// Without cmpxchg16b a program of 7.2 gets no storage in a socket or task (`kmalloc_nolock`).
const WITH_CX16: &str = "max";

/// Debian's archives, whose addresses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    Main,
    Security,
}

/// From the oldest kernel that is supported to the newest that Debian has.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel { series: "5.10", suite: "bullseye-security", archive: Archive::Security, processor: WITHOUT_CX16 },
    Kernel { series: "6.1", suite: "bookworm", archive: Archive::Main, processor: WITHOUT_CX16 },
    Kernel { series: "6.12", suite: "bookworm-backports", archive: Archive::Main, processor: WITHOUT_CX16 },
    Kernel { series: "7.2", suite: "forky", archive: Archive::Main, processor: WITH_CX16 },
];

/// What a kernel is fetched for; each has its own set of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The tests of this crate.
    Tests,
    /// A node of the test cluster: `trilobite-cluster up --guest`.
    Node,
}

impl Purpose {
    /// What to load: Debian's cloud kernels have these as modules.
    pub(crate) fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Tests => &["veth", "bridge", "sch_ingress", "cls_bpf"],
            Self::Node => &NODE_MODULES,
        }
    }
}

/// Disk and network card under QEMU, what containerd and the pods' network need, and what kube-proxy writes rules with.
/// A guest has no modprobe: all of them are loaded at its start.
const NODE_MODULES: [&str; 22] = [
    "virtio_blk",
    "virtio_net",
    "overlay",
    "veth",
    "bridge",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
    "nf_conntrack_netlink",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_redir",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
];

impl FromStr for Kernel {
    type Err = String;

    fn from_str(series: &str) -> Result<Self, String> {
        KERNELS.into_iter().find(|kernel| kernel.series == series).ok_or_else(|| {
            let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.series).collect();
            format!("no such kernel; there are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_not_met_is_refused_with_those_that_are() {
        assert_eq!("4.19".parse::<Kernel>().unwrap_err(), "no such kernel; there are 5.10, 6.1, 6.12, 7.2");
    }
}
