//! Network namespaces by inode: that of the calling thread, to whose interfaces programs are attached, and those of processes.

use std::{fs, os::unix::fs::MetadataExt};

/// Its inode; 0 when it cannot be read.
pub fn own() -> u32 {
    let inode = fs::metadata("/proc/thread-self/ns/net").map_or(0, |data| data.ino());
    // Inodes of namespaces have 32 bits.
    u32::try_from(inode).unwrap_or_default()
}

/// The inode of a process's network namespace; none if it has ended, or may not be inspected.
pub fn of_process(pid: u32) -> Option<u32> {
    let inode = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino();
    u32::try_from(inode).ok()
}
