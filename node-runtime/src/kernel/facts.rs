//! Facts about the kernel and the agent's privilege: probed once at start, a plain value afterwards, so that `plan` is pure.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use crate::problem::Problem;

/// A kernel release by its first two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// 6 of 6.12.
    pub major: u32,
    /// 12 of 6.12.
    pub minor: u32,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// How cgroups are mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// One v2 hierarchy.
    #[default]
    V2,
    /// v1 controllers beside a v2 hierarchy in which pods have their own cgroups.
    Hybrid,
    /// No v2 hierarchy.
    V1,
}

/// Whether the agent may probe processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UprobeAccess {
    Allowed,
    /// The kernel has no `uprobe.multi`.
    #[default]
    Missing,
    /// It has, and refuses it to this agent.
    Forbidden,
}

impl UprobeAccess {
    /// The problem of a unit that wants probes.
    pub fn problem(self, release: Release) -> Option<Problem> {
        match self {
            Self::Allowed => None,
            Self::Missing => Some(Problem::UprobeRefused { too_old: Some(release.to_string()) }),
            Self::Forbidden => Some(Problem::UprobeRefused { too_old: None }),
        }
    }
}

/// How programs get to the packets of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketAttach {
    /// Links, since 6.6.
    #[default]
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

impl PacketAttach {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Everything that planning depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -r`.
    pub release_text: String,
    /// `release_text` as numbers, for comparison.
    pub release: Release,
    /// Whether `/sys/kernel/btf/vmlinux` exists.
    pub btf: bool,
    pub cgroup: CgroupMode,
    /// Mount point of the host's v2 hierarchy.
    pub cgroup_root: PathBuf,
    /// Inode of the cgroup above the node's pods; none when the whole machine is the node.
    pub node_cgroup: Option<u64>,
    /// Depth of `node_cgroup` below the v2 root.
    pub node_cgroup_level: u32,
    /// Effective capabilities, e.g. `CAP_BPF`.
    pub capabilities: BTreeSet<String>,
    /// `kernel.perf_event_paranoid`.
    pub perf_paranoid: i32,
    /// The kernel refused this process a perf event. The paranoid level alone does not decide: upstream kernels accept
    /// CAP_PERFMON at any level, Debian's and Ubuntu's ask for CAP_SYS_ADMIN above 2.
    pub perf_refused: bool,
    /// Whether the agent may probe processes.
    pub uprobes: UprobeAccess,
    pub packet_attach: PacketAttach,
    /// Online CPUs.
    pub cpus: u32,
    pub boot_id: String,
}

impl Facts {
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernel_is_not_told_to_allow_sys_admin() {
        let message = |access: UprobeAccess| access.problem(Release { major: 6, minor: 1 }).unwrap().message();
        assert!(message(UprobeAccess::Missing).contains("need kernel 6.6 (this node: 6.1); "));
        assert!(!message(UprobeAccess::Missing).contains("allowSysAdmin"));
        assert!(message(UprobeAccess::Forbidden).contains("runtime.allowSysAdmin: true"));
        assert_eq!(UprobeAccess::Allowed.problem(Release::default()), None);
    }
}
