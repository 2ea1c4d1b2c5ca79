//! The processes of cgroups, by the cgroup file system: cheap to ask again and again, and independent of any program in the kernel.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use trilobite_worker_wire::ProcessImage;

use crate::{
    kernel::proc_stat::{TICK_NS, start_ticks},
    layers::application::process_inspector::InspectionRequest,
};

/// Levels of cgroups below a folder, and processes of one session, that are looked at.
const DEPTH_MAX: u32 = 8;
const PROCESSES_MAX: usize = 4096;

/// A process that runs.
#[derive(Clone, Debug)]
pub(super) struct ListedProcess {
    pub(super) request: InspectionRequest,
    /// Path of its program, which another exec replaces.
    pub(super) program: PathBuf,
    /// Its mount namespace, by inode; 0 if that is not known.
    pub(super) mounts: u64,
}

/// Ids of a folder's cgroup and of all below it.
pub(super) fn cgroups_below(folder: &Path) -> Vec<u64> {
    let mut found = Vec::new();
    visit(folder, 0, &mut |_, cgroup| found.push(cgroup));
    found
}

/// The processes of the cgroups at and below these folders. Those that end meanwhile are left out.
pub(super) fn list(folders: &[PathBuf], is_selected: impl Fn(u64) -> bool) -> BTreeMap<u32, ListedProcess> {
    let mut found = BTreeMap::new();
    for folder in folders {
        visit(folder, 0, &mut |folder, cgroup| {
            let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            // The kernel shows a process of another pid namespace as 0.
            let mut pids = pids.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).peekable();
            if pids.peek().is_none() || !is_selected(cgroup) {
                return;
            }
            for pid in pids.take(PROCESSES_MAX.saturating_sub(found.len())) {
                if let Some(ktime) = start_ticks(format!("/proc/{pid}")).and_then(|ticks| ticks.checked_mul(TICK_NS)) {
                    let request = InspectionRequest { image: ProcessImage { pid, ktime }, cgroup };
                    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                    let mounts = fs::metadata(format!("/proc/{pid}/ns/mnt")).map_or(0, |metadata| metadata.ino());
                    found.insert(pid, ListedProcess { request, program, mounts });
                }
            }
        });
    }
    found
}

fn visit(folder: &Path, depth: u32, each: &mut impl FnMut(&Path, u64)) {
    let Ok(metadata) = fs::metadata(folder) else { return };
    each(folder, metadata.ino());
    if depth == DEPTH_MAX {
        return;
    }
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        visit(&entry.path(), depth + 1, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_selected_cgroups_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let own = std::process::id();
        for (name, text) in [("pod/app", format!("{own}\n0\n")), ("pod/other", "1\n".to_owned())] {
            fs::create_dir_all(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("cgroup.procs"), text).unwrap();
        }
        let app = fs::metadata(root.path().join("pod/app")).unwrap().ino();
        let listed = list(&[root.path().join("pod")], |cgroup| cgroup == app);
        assert_eq!(listed.keys().copied().collect::<Vec<_>>(), [own]);
        assert_eq!((listed[&own].request.cgroup, &listed[&own].program), (app, &std::env::current_exe().unwrap()));
        assert!(crate::layers::application::mapped_code::process_started_at(own, listed[&own].request.image.ktime));
        assert_eq!(cgroups_below(&root.path().join("pod")).len(), 3);
    }
}
