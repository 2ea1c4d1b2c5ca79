//! The cgroup file system as it is now: what was made before anybody listened.

use std::{
    fs,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::Path,
};

/// Deeper than any container nests.
const DEPTH_MAX: u32 = 24;

/// Every cgroup below `root`, from the top down: id, the id above, name. One that goes meanwhile is left out.
pub(super) fn walk(root: &Path) -> Vec<(u64, u64, String)> {
    let mut found = Vec::new();
    if let Ok(data) = fs::metadata(root) {
        descend(root, data.ino(), 0, &mut found);
    }
    found
}

/// Processes in a cgroup and in those below it, the first of them.
pub(super) fn any_process(cgroup: &Path) -> Option<u32> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
    if let Some(pid) = own.lines().find_map(|line| line.parse().ok().filter(|pid| *pid != 0)) {
        return Some(pid);
    }
    directories(cgroup).find_map(|entry| any_process(&entry.path()))
}

fn descend(dir: &Path, id: u64, depth: u32, found: &mut Vec<(u64, u64, String)>) {
    if depth == DEPTH_MAX {
        return;
    }
    for entry in directories(dir) {
        let below = entry.ino();
        found.push((below, id, entry.file_name().to_string_lossy().into_owned()));
        descend(&entry.path(), below, depth + 1, found);
    }
}

fn directories(dir: &Path) -> impl Iterator<Item = fs::DirEntry> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}
