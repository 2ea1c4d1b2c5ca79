//! Reads the cgroup file system: cgroups that were made before the programs were attached, and processes of a cgroup.

use std::{
    fs,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::Path,
};

/// Levels that are read; container runtimes nest less deep.
const DEPTH_MAX: u32 = 24;

/// Processes of a pod that are returned: enough to find one in the pod's own namespaces, few enough to inspect each.
const PROCESSES_MAX: usize = 64;
/// Processes of one cgroup, so that every container is represented.
const PROCESSES_PER_CGROUP: usize = 4;

/// Every cgroup below `root`, parents first: id, parent id, name. One that is removed meanwhile is left out.
pub(in crate::identity) fn list_cgroups(root: &Path) -> Vec<(u64, u64, String)> {
    let mut found = Vec::new();
    if let Ok(data) = fs::metadata(root) {
        descend(root, data.ino(), 0, &mut found);
    }
    found
}

/// Some processes of a cgroup and of those below it, level by level: a process that is nested deep in a pod is more likely to
/// have left the pod's namespaces.
pub(in crate::identity) fn sample_processes(cgroup: &Path) -> Vec<u32> {
    let (mut found, mut level) = (Vec::new(), vec![cgroup.to_owned()]);
    for _ in 0..DEPTH_MAX {
        for cgroup in &level {
            let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            // The kernel shows a process of another pid namespace as 0.
            let pids = own.lines().filter_map(|line| line.parse().ok()).filter(|pid: &u32| *pid != 0);
            found.extend(pids.take(PROCESSES_PER_CGROUP));
        }
        level = level.iter().flat_map(|cgroup| directories(cgroup)).map(|entry| entry.path()).collect();
        if level.is_empty() || found.len() >= PROCESSES_MAX {
            break;
        }
    }
    found.truncate(PROCESSES_MAX);
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
    fn each_container_is_sampled_before_nested_cgroups() {
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
        let found = sample_processes(pod.path());
        assert_eq!(found.last(), Some(&30));
        assert_eq!(found.len(), 6);
        assert!(found.contains(&10) && !found.contains(&24), "{found:?}");
    }
}
