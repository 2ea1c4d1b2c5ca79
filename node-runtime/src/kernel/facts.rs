//! What this kernel and this privilege allow; probed once at start, and a plain value from then on, so that `plan` is pure.

use std::{collections::BTreeSet, fmt, path::PathBuf};

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
    /// One v2 tree.
    #[default]
    V2,
    /// v1 controllers beside a v2 tree in which pods have cgroups of their own.
    Hybrid,
    /// No v2 tree in use.
    V1,
}

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -r`, whole.
    pub release_text: String,
    /// The same, to compare.
    pub release: Release,
    /// `/sys/kernel/btf/vmlinux` is there.
    pub btf: bool,
    /// How cgroups are mounted.
    pub cgroup: CgroupMode,
    /// Where the host's v2 tree can be read.
    pub cgroup_root: PathBuf,
    /// Inode of the cgroup above the node's pods; none where the whole machine is the node.
    pub node_cgroup: Option<u64>,
    /// Its depth below the v2 root.
    pub node_cgroup_level: u32,
    /// Effective capabilities, as `CAP_BPF`.
    pub capabilities: BTreeSet<String>,
    /// `kernel.perf_event_paranoid`.
    pub perf_paranoid: i32,
    /// The kernel refused this process a perf event. What it makes of the level is its own: upstream CAP_PERFMON is enough at
    /// any, Debian's and Ubuntu's kernels ask for SYS_ADMIN above 2.
    pub perf_refused: bool,
    /// Processors that are online.
    pub cpus: u32,
    /// The kernel's boot id.
    pub boot_id: String,
}

impl Facts {
    /// A capability is effective.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }
}
