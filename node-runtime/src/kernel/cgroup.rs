//! Where the v2 tree is, where in it this process is, and which part of it is this node.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::CgroupMode;

/// Names that a kubelet gives the cgroup above all its pods, by driver.
const ABOVE_PODS: [&str; 3] = ["kubepods", "kubepods.slice", "kubelet.slice"];
/// Inode of the root of any kernfs.
const KERNFS_ROOT: u64 = 1;
/// Deeper than any pod.
const DEPTH_MAX: u32 = 24;

/// What was found of cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How they are mounted.
    pub mode: CgroupMode,
    /// The host's v2 tree.
    pub root: PathBuf,
    /// Inode of the cgroup above the node's pods.
    pub node: Option<u64>,
    /// Its depth.
    pub level: u32,
}

/// Looks below `root`, or below what is mounted here.
pub fn find(root: Option<&Path>) -> Found {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let here = mounted(&mounts);
    let tree = match root {
        Some(given) => v2_in(given),
        None => here.clone(),
    };
    let Some((root, hybrid)) = tree else { return Found { mode: CgroupMode::V1, ..Found::default() } };
    let mode = if hybrid { CgroupMode::Hybrid } else { CgroupMode::V2 };
    let path = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| own_path(&text));
    let own = own_inode(path.as_deref(), here.as_ref().map(|(path, _)| path.as_path()));
    let inside = own
        .and_then(|inode| path_of(&root, inode))
        .or_else(|| path_holding(&root, std::process::id()))
        .unwrap_or_default();
    let (node, level) = node_of(&root, &inside);
    Found { mode, root, node, level }
}

/// The v2 tree of a host's `/sys/fs/cgroup`, and whether v1 controllers are beside it: then it is one of the directories.
fn v2_in(given: &Path) -> Option<(PathBuf, bool)> {
    // Every cgroup of v2 has this file, and none of v1.
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

/// The v2 mount, and whether v1 controllers are mounted beside it.
fn mounted(mountinfo: &str) -> Option<(PathBuf, bool)> {
    let mut v2 = None;
    let mut v1 = false;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        match right.split(' ').next() {
            // The first one wins: a pod's own, or the host's; what is mounted later lies elsewhere.
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

/// In a private cgroup namespace the path is `/` and the mount's root is one's own cgroup; otherwise the path is the host's.
fn own_inode(path: Option<&Path>, mount: Option<&Path>) -> Option<u64> {
    let (path, mount) = (path?, mount?);
    let inode = fs::metadata(mount.join(path.strip_prefix("/").unwrap_or(path))).ok()?.ino();
    Some(inode)
}

/// Where below `root` the cgroup of this inode is.
pub fn path_of(root: &Path, inode: u64) -> Option<PathBuf> {
    search(root, Path::new(""), 0, &mut |dir| fs::metadata(dir).is_ok_and(|data| data.ino() == inode))
}

fn path_holding(root: &Path, pid: u32) -> Option<PathBuf> {
    let pid = pid.to_string();
    search(root, Path::new(""), 0, &mut |dir| {
        fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|text| text.lines().any(|line| line == pid))
    })
}

fn search(root: &Path, inside: &Path, depth: u32, found: &mut dyn FnMut(&Path) -> bool) -> Option<PathBuf> {
    let dir = root.join(inside);
    if found(&dir) {
        return Some(inside.to_owned());
    }
    if depth == DEPTH_MAX {
        return None;
    }
    for entry in fs::read_dir(&dir).ok()?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(path) = search(root, &inside.join(entry.file_name()), depth + 1, found)
        {
            return Some(path);
        }
    }
    None
}

/// The cgroup above the pods among which `inside` is, and its depth; none where that is the machine's root, or there is none.
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
    fn a_hybrid_mount_is_told_from_a_pure_one() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(v2), Some((PathBuf::from("/sys/fs/cgroup"), false)));
        let hybrid = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(hybrid), Some((PathBuf::from("/sys/fs/cgroup/unified"), true)));
        assert_eq!(mounted("31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn a_host_without_a_v2_tree_is_a_pure_v1_one_also_where_its_root_is_given() {
        let host = std::env::temp_dir().join(format!("trilobite-host-cgroup-{}", std::process::id()));
        fs::create_dir_all(host.join("memory/kubepods")).unwrap();
        fs::write(host.join("memory/cgroup.procs"), "").unwrap();
        assert_eq!(find(Some(&host)), Found { mode: CgroupMode::V1, ..Found::default() });
        let unified = host.join("unified");
        fs::create_dir_all(&unified).unwrap();
        fs::write(unified.join("cgroup.controllers"), "").unwrap();
        assert_eq!((find(Some(&host)).mode, find(Some(&host)).root), (CgroupMode::Hybrid, unified.clone()));
        // One of its pods' cgroups has the name.
        fs::write(host.join("cgroup.controllers"), "").unwrap();
        assert_eq!((find(Some(&host)).mode, find(Some(&host)).root), (CgroupMode::V2, host.clone()));
        fs::remove_dir_all(host).unwrap();
    }

    #[test]
    fn the_v2_path_is_the_line_without_controllers() {
        assert_eq!(own_path("4:memory:/a\n0::/kubepods/pod1/c\n"), Some(PathBuf::from("/kubepods/pod1/c")));
        assert_eq!(own_path("4:memory:/a\n"), None);
    }

    #[test]
    fn the_node_is_what_lies_above_the_pods() {
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
