//! The network namespace of the calling thread, to whose interfaces programs are attached.

use std::{fs, os::unix::fs::MetadataExt};

/// Its inode; 0 when it cannot be read.
pub fn own() -> u32 {
    let inode = fs::metadata("/proc/thread-self/ns/net").map_or(0, |data| data.ino());
    // Inodes of namespaces have 32 bits.
    u32::try_from(inode).unwrap_or_default()
}
