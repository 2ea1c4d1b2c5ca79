//! Records of processes and cgroups; `bpf/include/process.h` has the same.

use crate::record::Record;

/// `PROCESS_*` of the header: how a process image came about, and what of it could not be read.
pub mod flag {
    /// By execve.
    pub const EXECVE: u32 = 1 << 0;
    /// It ran before the agent did; its names are to be read from /proc.
    pub const RAN_BEFORE: u32 = 1 << 1;
    /// Arguments are not whole.
    pub const TRUNC_ARGS: u32 = 1 << 2;
    /// The binary's path is not whole.
    pub const ERROR_FILENAME: u32 = 1 << 3;
    /// Arguments could not be read.
    pub const ERROR_ARGS: u32 = 1 << 4;
    /// No working directory.
    pub const NO_CWD: u32 = 1 << 5;
    /// The working directory is `/`.
    pub const ROOT_CWD: u32 = 1 << 6;
    /// The working directory is not whole.
    pub const ERROR_CWD: u32 = 1 << 7;
    /// First image since the fork.
    pub const CLONE: u32 = 1 << 8;
    /// A thread of the kernel.
    pub const KERNEL: u32 = 1 << 9;
}

/// Word of the map `process_turn` that says which version of the programs writes; `enum process_turn`.
pub const TURN_GENERATION: u32 = 0;
/// Word of the same that is 1 once the kernel's map of processes had no room.
pub const TURN_OVERFLOWED: u32 = 1;

/// A fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessRecord {
    /// The child.
    pub header: Record,
    /// Exec key of the parent.
    pub parent_ktime: u64,
    /// See `parent_ktime`.
    pub parent_pid: u32,
    /// Pid inside its own pid namespace.
    pub ns_pid: u32,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExitRecord {
    /// The process.
    pub header: Record,
    /// Exec key of the parent.
    pub parent_ktime: u64,
    /// See `parent_ktime`.
    pub parent_pid: u32,
    /// As wait(2) gives it.
    pub code: u32,
}

/// A process image. Its names follow: binary, working directory from the leaf to the root, arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExecRecord {
    /// The process, by the key of the new image.
    pub header: Record,
    /// Exec key of the parent.
    pub parent_ktime: u64,
    /// See `parent_ktime`.
    pub parent_pid: u32,
    /// See `flag`.
    pub flags: u32,
    /// Exec key of the image that was replaced; 0 where there is none.
    pub replaced_ktime: u64,
    /// Real, effective, saved, file system.
    pub uid: [u32; 4],
    /// The same of groups.
    pub gid: [u32; 4],
    /// Capabilities.
    pub permitted: u64,
    /// Capabilities.
    pub effective: u64,
    /// Capabilities.
    pub inheritable: u64,
    /// Of the credentials.
    pub securebits: u32,
    /// Login uid.
    pub auid: u32,
    /// uts, ipc, mnt, pid, pid_for_children, net, time, time_for_children, cgroup, user.
    pub namespaces: [u32; 10],
    /// Pid inside its own pid namespace.
    pub ns_pid: u32,
    /// Links of the binary's inode.
    pub links: u32,
    /// The binary's inode.
    pub inode: u64,
    /// Mode of the same.
    pub mode: u32,
    /// Owner of the same.
    pub owner: u32,
    /// Group of the same.
    pub group: u32,
    /// Bytes of the binary's path.
    pub filename_bytes: u16,
    /// Bytes of the working directory.
    pub cwd_bytes: u16,
    /// Bytes of the arguments.
    pub args_bytes: u16,
    /// To the next multiple of eight.
    pub pad: [u16; 3],
}

/// A cgroup that came or went; the header's cgroup is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CgroupRecord {
    /// No process.
    pub header: Record,
    /// The cgroup above.
    pub parent: u64,
    /// Depth below the root.
    pub level: u32,
    /// To the next multiple of eight.
    pub pad: u32,
    /// Its own name, ended by NUL.
    pub name: [u8; crate::limits::CGROUP_NAME_MAX as usize],
}

/// What a slot-map entry says of a cgroup; `struct cgroup_state` of `bpf/include/selection.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CgroupState {
    /// Slots for which the answer is known.
    pub decided: u64,
    /// Slots that want it.
    pub wanted: u64,
    /// `CGROUP_INHERIT`, `CGROUP_PODS`.
    pub flags: u32,
    /// To the next multiple of eight.
    pub pad: u32,
}

/// Flags of `CgroupState`.
pub mod cgroup_flag {
    /// A cgroup made below begins with this one's state.
    pub const INHERIT: u32 = 1;
    /// Pods begin below: what lies above says nothing about them.
    pub const PODS: u32 = 2;
}

/// Index in `losses` for a map of processes that was full; the others are kinds of records.
pub const LOSS_MAP_FULL: u32 = 0;
/// The same for the map of cgroups.
pub const LOSS_CGROUPS_FULL: u32 = 63;

const _: () = assert!(size_of::<ProcessRecord>() == 72);
const _: () = assert!(size_of::<ExitRecord>() == 72);
const _: () = assert!(size_of::<ExecRecord>() == 224);
const _: () = assert!(size_of::<CgroupRecord>() == 200);
const _: () = assert!(size_of::<CgroupState>() == 24);
