//! One cgroup tree for each node, `/node1` and so on: the daemons of a node in `system`, its pods in `kubepods`.
//! An agent on a machine that several nodes share tells its own node by that tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::files;

/// The machine's cgroup hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Where the v2 tree is mounted.
    pub unified: PathBuf,
    /// Where v1 controllers are, on a machine that still has them.
    pub legacy: Vec<PathBuf>,
}

impl Hierarchies {
    pub(crate) fn of_this_machine() -> Result<Self> {
        Self::parse(&files::read(Path::new("/proc/self/mounts"))?)
    }

    fn parse(mounts: &str) -> Result<Self> {
        let under = |kind: &str| -> Vec<PathBuf> {
            let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let of_kind = fields.filter(|f| f.len() > 2 && f[2] == kind && f[1].starts_with("/sys/fs/cgroup"));
            of_kind.map(|f| PathBuf::from(f[1])).collect()
        };
        let unified = under("cgroup2").into_iter().next();
        let unified =
            unified.ok_or_else(|| Error::Missing("no cgroup2 hierarchy is mounted below /sys/fs/cgroup".to_owned()))?;
        Ok(Self { unified, legacy: under("cgroup") })
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        self.legacy.iter().chain([&self.unified]).map(PathBuf::as_path)
    }

    /// Makes a node's tree, and gives the file by which its daemons enter `system`.
    pub(crate) fn create(&self, node: &str) -> Result<PathBuf> {
        for hierarchy in self.all() {
            files::create_folder(&hierarchy.join(node))?;
        }
        for hierarchy in &self.legacy {
            // A cpuset of v1 is born empty and takes no process until it has its share of the parent's.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read_to_string(hierarchy.join(file)) {
                    files::write(&hierarchy.join(node).join(file), value)?;
                }
            }
        }
        if self.legacy.is_empty() {
            self.delegate(&self.unified)?;
            self.delegate(&self.unified.join(node))?;
        }
        let system = self.unified.join(node).join("system");
        files::create_folder(&system)?;
        Ok(system.join("cgroup.procs"))
    }

    /// Gives every controller of a v2 cgroup to its children.
    fn delegate(&self, cgroup: &Path) -> Result<()> {
        let controllers = files::read(&cgroup.join("cgroup.controllers"))?;
        for controller in controllers.split_whitespace() {
            // One by one: a controller that cannot be given (cpu, while a real-time process runs) must not keep the
            // rest from it. The kubelet names those that it misses.
            let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        Ok(())
    }

    /// Every process in a node's tree: daemons, shims and pods.
    pub(crate) fn processes(&self, node: &str) -> Vec<u32> {
        let mut found: Vec<u32> = self
            .all()
            .flat_map(|hierarchy| folders(&hierarchy.join(node)))
            .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>())
            .filter(|process| *process != 0)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills all that runs in a node's tree, as a power cut would.
    pub(crate) fn kill(&self, node: &str) -> Vec<u32> {
        let start = Instant::now();
        loop {
            let left = self.processes(node);
            if left.is_empty() || start.elapsed() > Duration::from_secs(10) {
                return left;
            }
            // Whole at once where the kernel can (5.14), so that nothing forks away; else one by one until all are gone.
            let _ = fs::write(self.unified.join(node).join("cgroup.kill"), "1");
            left.iter().for_each(|process| crate::daemon::send(*process, nix::sys::signal::Signal::SIGKILL));
            sleep(Duration::from_millis(20));
        }
    }

    /// Removes what is empty of a node's tree, and gives what could not be.
    pub(crate) fn remove(&self, node: &str) -> Vec<PathBuf> {
        let start = Instant::now();
        loop {
            let mut left = Vec::new();
            for hierarchy in self.all() {
                let mut folders = folders(&hierarchy.join(node));
                folders.reverse();
                left.extend(folders.into_iter().filter(|folder| fs::remove_dir(folder).is_err()));
            }
            // A cgroup stays busy for some milliseconds after its last process has gone.
            if left.is_empty() || start.elapsed() > Duration::from_secs(5) {
                return left;
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// A folder and all below it, parents before children.
fn folders(top: &Path) -> Vec<PathBuf> {
    if !top.is_dir() {
        return Vec::new();
    }
    let mut found = vec![top.to_owned()];
    let mut next = 0;
    while next < found.len() {
        let entries = fs::read_dir(&found[next]).into_iter().flatten().flatten();
        found.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect::<Vec<_>>());
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_layout_has_its_v2_tree_beside_the_controllers() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Hierarchies::parse(mounts).unwrap();
        assert_eq!(found.unified, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(found.legacy, [Path::new("/sys/fs/cgroup/memory")]);
    }

    #[test]
    fn the_unified_layout_has_no_other() {
        let found = Hierarchies::parse("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n").unwrap();
        assert_eq!(found, Hierarchies { unified: PathBuf::from("/sys/fs/cgroup"), legacy: Vec::new() });
    }

    #[test]
    fn a_machine_without_v2_is_refused() {
        assert!(Hierarchies::parse("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n").is_err());
    }

    #[test]
    fn children_come_after_their_parents() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("a/b")).unwrap();
        assert_eq!(folders(top.path()), [top.path().to_owned(), top.path().join("a"), top.path().join("a/b")]);
    }
}
