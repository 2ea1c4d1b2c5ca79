//! The cgroup file system as it is now: what was made before anybody listened.

use std::{
    fs,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::Path,
};

/// Deeper than any container nests.
const DEPTH_MAX: u32 = 24;

/// Enough to meet one in the pod's own namespaces, and few enough to ask each.
const PROCESSES: usize = 64;
/// Of one cgroup, so that every container has its turn.
const PROCESSES_OF_ONE: usize = 4;

/// Every cgroup below `root`, from the top down: id, the id above, name. One that goes meanwhile is left out.
pub(super) fn walk(root: &Path) -> Vec<(u64, u64, String)> {
    let mut found = Vec::new();
    if let Ok(data) = fs::metadata(root) {
        descend(root, data.ino(), 0, &mut found);
    }
    found
}

/// Processes in a cgroup and in those below it: the first few of each, level by level, as what is nested deep in a pod is
/// most likely to have left the pod's namespaces.
pub(super) fn some_processes(cgroup: &Path) -> Vec<u32> {
    let (mut found, mut level) = (Vec::new(), vec![cgroup.to_owned()]);
    for _ in 0..DEPTH_MAX {
        for cgroup in &level {
            let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            // A process of another pid namespace reads as 0.
            let pids = own.lines().filter_map(|line| line.parse().ok()).filter(|pid: &u32| *pid != 0);
            found.extend(pids.take(PROCESSES_OF_ONE));
        }
        level = level.iter().flat_map(|cgroup| directories(cgroup)).map(|entry| entry.path()).collect();
        if level.is_empty() || found.len() >= PROCESSES {
            break;
        }
    }
    found.truncate(PROCESSES);
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_of_a_pod_gives_some_processes_before_what_is_nested_in_one() {
        let pod = tempfile::tempdir().unwrap();
        let procs = |cgroup: &str, pids: &[u32]| {
            let dir = pod.path().join(cgroup);
            fs::create_dir_all(&dir).unwrap();
            let lines: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
            fs::write(dir.join("cgroup.procs"), lines).unwrap();
        };
        procs("", &[]);
        procs("docker", &[0, 20, 21, 22, 23, 24]);
        procs("docker/inner", &[30]);
        procs("pause", &[10]);
        let found = some_processes(pod.path());
        assert_eq!(found.last(), Some(&30));
        assert_eq!(found.len(), 6);
        assert!(found.contains(&10) && !found.contains(&24), "{found:?}");
    }
}
