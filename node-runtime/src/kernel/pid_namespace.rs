//! The agent's pid namespace. Its `/proc` shows pids of that namespace, while BPF programs see pids of the initial one.

use std::{fs, os::unix::fs::MetadataExt};

/// Inode of the initial pid namespace (PROC_PID_INIT_INO), the same on every kernel.
pub const INITIAL: u32 = 0xEFFF_FFFC;

/// The inode of the agent's namespace; none when it cannot be read.
pub fn own() -> Option<u32> {
    // Inodes of namespaces have 32 bits.
    fs::metadata("/proc/self/ns/pid").ok()?.ino().try_into().ok()
}

/// The inode of the agent's namespace if it is not the initial one: then the node is a container.
pub fn nested() -> Option<u32> {
    own().filter(|inode| *inode != INITIAL)
}
