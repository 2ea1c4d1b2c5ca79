//! A pod's cgroups as the machine has them: to see its CPU time, and to move its processes deeper.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Kubectl, eventually};

/// Folders of one pod in the trees of cgroups, which on a hybrid machine are several.
pub struct PodCgroups {
    /// In the v2 tree: what the kernel's programs see.
    pub v2: PathBuf,
    /// Where CPU time is counted: the same, or v1's `cpuacct`.
    cpu: PathBuf,
}

impl PodCgroups {
    /// Of a pod that runs on `node`.
    #[track_caller]
    pub fn of(kubectl: &Kubectl, node: &str, namespace: &str, name: &str) -> Self {
        let uid = kubectl.run(&["-n", namespace, "get", "pod", name, "-o=jsonpath={.metadata.uid}"]);
        let folder = format!("pod{uid}");
        eventually("the pod has cgroups", 20, || {
            let find = |root: &Path| find(&root.join(node).join("kubepods"), &folder);
            let v2 = mount_of("cgroup2", "").and_then(|root| find(&root)).ok_or("none in the v2 tree")?;
            let cpu = mount_of("cgroup", "cpuacct").and_then(|root| find(&root)).unwrap_or_else(|| v2.clone());
            Ok(Self { v2, cpu })
        })
    }

    /// CPU time of all that ever ran in it, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        if let Ok(nanoseconds) = fs::read_to_string(self.cpu.join("cpuacct.usage")) {
            return nanoseconds.trim().parse::<f64>().unwrap() / 1e9;
        }
        let stat = fs::read_to_string(self.cpu.join("cpu.stat")).unwrap();
        let microseconds = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        microseconds.parse::<f64>().unwrap() / 1e6
    }

    /// Processes named `comm` in any of its containers.
    pub fn processes(&self, comm: &str) -> Vec<u32> {
        let named = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == comm);
        folders(&self.v2).iter().flat_map(|folder| pids(folder)).filter(named).collect()
    }

    /// Moves a process into a cgroup of its own below its container's, as a container in a container does.
    pub fn nest(&self, pid: u32) {
        let of = |folder: &&PathBuf| pids(folder).contains(&pid);
        let container = folders(&self.v2).into_iter().find(|folder| of(&folder)).expect("the process is in the pod");
        let nested = container.join("nested");
        fs::create_dir_all(&nested).unwrap();
        fs::write(nested.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

fn mount_of(kind: &str, option: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let fits = words[2] == kind && (option.is_empty() || words[3].split(',').any(|one| one == option));
        fits.then(|| PathBuf::from(words[1]))
    })
}

fn find(below: &Path, name: &str) -> Option<PathBuf> {
    folders(below).into_iter().find(|folder| folder.file_name().is_some_and(|own| own == name))
}

/// This folder and all below it.
fn folders(of: &Path) -> Vec<PathBuf> {
    let mut found = vec![of.to_owned()];
    for entry in fs::read_dir(of).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(folders(&entry.path()));
        }
    }
    found
}

fn pids(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
