//! Which pid namespace the agent is in: its `/proc` shows the processes of that one by their numbers there, while the kernel's
//! programs see the numbers of the first.

use std::{fs, os::unix::fs::MetadataExt};

/// Inode of the first pid namespace, the same on every kernel.
pub const FIRST: u32 = 0xEFFF_FFFC;

/// The agent's, by its inode; none where it cannot be read.
pub fn own() -> Option<u32> {
    // Inodes of namespaces have 32 bits.
    fs::metadata("/proc/self/ns/pid").ok()?.ino().try_into().ok()
}

/// The agent's, where it is not the first: the node is a container.
pub fn nested() -> Option<u32> {
    own().filter(|inode| *inode != FIRST)
}
