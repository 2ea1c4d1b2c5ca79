//! The cgroup v2 hierarchy: where it is mounted, where this process is in it, and which subtree is this node (nodes that share a
//! kernel, e.g. kind, each have one).

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::CgroupMode;

/// Names of the cgroup above all pods, by the kubelet's cgroup driver.
const ABOVE_PODS: [&str; 3] = ["kubepods", "kubepods.slice", "kubelet.slice"];
/// Inode of the root of every kernfs.
const KERNFS_ROOT: u64 = 1;
/// Limit of the recursive search; deeper than any pod.
const DEPTH_MAX: u32 = 24;

/// The cgroup hierarchy as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupTree {
    pub mode: CgroupMode,
    /// Mount point of the host's v2 hierarchy.
    pub root: PathBuf,
    /// Inode of the cgroup above the node's pods; none when the whole machine is the node.
    pub node: Option<u64>,
    /// Depth of `node`.
    pub level: u32,
}

/// Reads the hierarchy below `root`, or below the mount point in this mount namespace.
pub fn read_tree(root: Option<&Path>) -> CgroupTree {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let here = mounted(&mounts);
    let tree = match root {
        Some(given) => v2_in(given),
        None => here.clone(),
    };
    let Some((root, hybrid)) = tree else { return CgroupTree { mode: CgroupMode::V1, ..CgroupTree::default() } };
    let mode = if hybrid { CgroupMode::Hybrid } else { CgroupMode::V2 };
    let path = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| own_path(&text));
    let own = own_inode(path.as_deref(), here.as_ref().map(|(path, _)| path.as_path()));
    let inside = own
        .and_then(|inode| path_of(&root, inode))
        .or_else(|| path_holding(&root, std::process::id()))
        .unwrap_or_default();
    let (node, level) = node_of(&root, &inside);
    CgroupTree { mode, root, node, level }
}

/// The v2 hierarchy of a host's `/sys/fs/cgroup`, and whether the host is hybrid: then v2 is its `unified` directory.
fn v2_in(given: &Path) -> Option<(PathBuf, bool)> {
    // Every v2 cgroup has this file, no v1 cgroup has it.
    let is_v2 = |tree: &Path| tree.join("cgroup.controllers").exists();
    let unified = given.join("unified");
    if is_v2(given) {
        Some((given.to_owned(), false))
    } else if is_v2(&unified) {
        Some((unified, true))
    } else {
        None
    }
}

/// The v2 mount point, and whether v1 controllers are mounted as well.
fn mounted(mountinfo: &str) -> Option<(PathBuf, bool)> {
    let mut v2 = None;
    let mut v1 = false;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        match right.split(' ').next() {
            // The first v2 mount is /sys/fs/cgroup; later ones are bind mounts of other trees.
            Some("cgroup2") if v2.is_none() => v2 = left.split(' ').nth(4).map(PathBuf::from),
            Some("cgroup") => v1 = true,
            _ => {}
        }
    }
    v2.map(|path| (path, v1))
}

fn own_path(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from)
}

/// In a private cgroup namespace the path is `/` and the mount's root is the process's own cgroup; otherwise the path is the
/// host's.
fn own_inode(path: Option<&Path>, mount: Option<&Path>) -> Option<u64> {
    let (path, mount) = (path?, mount?);
    let inode = fs::metadata(mount.join(path.strip_prefix("/").unwrap_or(path))).ok()?.ino();
    Some(inode)
}

/// The path below `root` of the cgroup with this inode.
pub fn path_of(root: &Path, inode: u64) -> Option<PathBuf> {
    search(root, Path::new(""), 0, &mut |dir| fs::metadata(dir).is_ok_and(|data| data.ino() == inode))
}

fn path_holding(root: &Path, pid: u32) -> Option<PathBuf> {
    let pid = pid.to_string();
    search(root, Path::new(""), 0, &mut |dir| {
        fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|text| text.lines().any(|line| line == pid))
    })
}

fn search(root: &Path, inside: &Path, depth: u32, matches: &mut dyn FnMut(&Path) -> bool) -> Option<PathBuf> {
    let dir = root.join(inside);
    if matches(&dir) {
        return Some(inside.to_owned());
    }
    if depth == DEPTH_MAX {
        return None;
    }
    for entry in fs::read_dir(&dir).ok()?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(path) = search(root, &inside.join(entry.file_name()), depth + 1, matches)
        {
            return Some(path);
        }
    }
    None
}

/// The cgroup above the pods on the path `inside`, and its depth; none when that is the root of the machine, or `inside` is in
/// no pod.
fn node_of(root: &Path, inside: &Path) -> (Option<u64>, u32) {
    let mut above = PathBuf::new();
    for (level, name) in inside.iter().enumerate() {
        if ABOVE_PODS.iter().any(|known| name == *known) {
            let inode =
                fs::metadata(root.join(&above)).map(|data| data.ino()).ok().filter(|inode| *inode != KERNFS_ROOT);
            return (inode, if inode.is_some() { u32::try_from(level).unwrap_or(u32::MAX) } else { 0 });
        }
        above.push(name);
    }
    (None, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mount_differs_from_pure_v2() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(v2), Some((PathBuf::from("/sys/fs/cgroup"), false)));
        let hybrid = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(hybrid), Some((PathBuf::from("/sys/fs/cgroup/unified"), true)));
        assert_eq!(mounted("31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn host_without_a_v2_tree_is_pure_v1() {
        let host = std::env::temp_dir().join(format!("trilobite-host-cgroup-{}", std::process::id()));
        fs::create_dir_all(host.join("memory/kubepods")).unwrap();
        fs::write(host.join("memory/cgroup.procs"), "").unwrap();
        assert_eq!(read_tree(Some(&host)), CgroupTree { mode: CgroupMode::V1, ..CgroupTree::default() });
        let unified = host.join("unified");
        fs::create_dir_all(&unified).unwrap();
        fs::write(unified.join("cgroup.controllers"), "").unwrap();
        assert_eq!((read_tree(Some(&host)).mode, read_tree(Some(&host)).root), (CgroupMode::Hybrid, unified.clone()));
        // One of its pods' cgroups has the name.
        fs::write(host.join("cgroup.controllers"), "").unwrap();
        assert_eq!((read_tree(Some(&host)).mode, read_tree(Some(&host)).root), (CgroupMode::V2, host.clone()));
        fs::remove_dir_all(host).unwrap();
    }

    #[test]
    fn v2_path_is_the_line_without_controllers() {
        assert_eq!(own_path("4:memory:/a\n0::/kubepods/pod1/c\n"), Some(PathBuf::from("/kubepods/pod1/c")));
        assert_eq!(own_path("4:memory:/a\n"), None);
    }

    #[test]
    fn node_is_the_cgroup_above_the_pods() {
        let root = std::env::temp_dir().join(format!("trilobite-cgroup-{}", std::process::id()));
        let pod = Path::new("node1/kubelet.slice/kubelet-kubepods.slice/pod.slice");
        fs::create_dir_all(root.join(pod)).unwrap();
        let node = fs::metadata(root.join("node1")).unwrap().ino();
        assert_eq!(node_of(&root, pod), (Some(node), 1));
        assert_eq!(node_of(&root, Path::new("user.slice/session.scope")), (None, 0));
        let inside = path_of(&root, fs::metadata(root.join(pod)).unwrap().ino());
        assert_eq!(inside.as_deref(), Some(pod));
        fs::remove_dir_all(root).unwrap();
    }
}
