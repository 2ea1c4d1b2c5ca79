//! Kernel settings, mounts and folders that a cluster changes on the machine: recorded before `up`, restored by `down`.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::addresses::NodeNumber;
use crate::error::{Error, Result};
use crate::files;
use crate::iptables;
use crate::state::OriginalSettings;

/// Kernel settings that the cluster or its kubelet and kube-proxy set.
const SYSCTLS: [&str; 10] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    PARANOID,
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Debian's 3 and 4 refuse perf events to processes without CAP_SYS_ADMIN, which agents do not have.
const PARANOID: &str = "kernel/perf_event_paranoid";
const HIGHEST_THAT_SAMPLES: i32 = 2;

/// Folders with fixed names that kubelet, containerd and the CNI plugins make.
const FOLDERS: [&str; 9] = [
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
    "/run/netns",
    "/etc/cni",
    "/opt/cni",
    "/usr/libexec/kubernetes",
];

/// Folders with one for each agent, by its node's name: its state, and its socket.
const AGENTS: [&str; 2] = ["/var/lib/trilobite", "/run/trilobite"];

/// File systems that agents expect, with the kind of each.
const MOUNTS: [(&str, &str); 2] = [("/sys/fs/bpf", "bpf"), (TRACING, "tracefs")];

const TRACING: &str = "/sys/kernel/tracing";

/// What every bpf file system holds from its birth, where the kernel has its iterators.
const KERNELS_OWN_PINS: [&str; 2] = ["maps.debug", "progs.debug"];

const NETNS: &str = "/run/netns";

/// Reads the settings of the machine as they are.
pub(crate) fn inspect() -> Result<OriginalSettings> {
    let read = |name: &&str| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some(((*name).to_owned(), value.trim().to_owned()))
    };
    let mounted = mount_points()?;
    let mounts = MOUNTS.iter().map(|(path, _)| PathBuf::from(path)).chain([PathBuf::from(NETNS)]);
    Ok(OriginalSettings {
        sysctls: SYSCTLS.iter().filter_map(read).collect(),
        missing_folders: FOLDERS.iter().map(PathBuf::from).filter(|path| !path.exists()).collect(),
        missing_mounts: mounts.filter(|path| !mounted.contains(path)).collect(),
        missing_tables: iptables::missing_tables(),
    })
}

/// Mounts what agents expect and is missing, and lets them sample.
pub(crate) fn prepare(original: &OriginalSettings) -> Result<()> {
    if let Some(level) = lowered(original) {
        let path = Path::new("/proc/sys").join(PARANOID);
        fs::write(&path, level.to_string()).map_err(Error::file("write", &path))?;
    }
    for (path, kind) in MOUNTS {
        let path = Path::new(path);
        if original.missing_mounts.iter().any(|missing| missing == path) && path.is_dir() {
            mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)
                .map_err(|source| Error::file("mount", path)(source.into()))?;
        }
    }
    Ok(())
}

/// What `perf_event_paranoid` must become, where it must.
fn lowered(original: &OriginalSettings) -> Option<i32> {
    let level: i32 = original.sysctls.get(PARANOID)?.parse().ok()?;
    (level > HIGHEST_THAT_SAMPLES).then_some(HIGHEST_THAT_SAMPLES)
}

/// Restores the settings, and gives a line for each that could not be restored.
pub(crate) fn restore(original: &OriginalSettings) -> Vec<String> {
    let mut left = Vec::new();
    iptables::forget(&original.missing_tables);
    for (name, value) in &original.sysctls {
        let path = Path::new("/proc/sys").join(name);
        let now = fs::read_to_string(&path).unwrap_or_default();
        if now.trim() != value && fs::write(&path, value).is_err() {
            left.push(format!("kernel setting {name} is {} and was {value}", now.trim()));
        }
    }
    for path in original.missing_mounts.iter().rev() {
        left.extend(unmount(path));
    }
    for path in &original.missing_folders {
        if let Err(error) = files::remove(path) {
            left.push(error.to_string());
        }
    }
    left
}

/// Removes the folders of these nodes' agents, which an agent of the next cluster would read; gives a line for each that stays.
/// An agent that is not of this cluster keeps its folder.
pub(crate) fn forget_agents(nodes: &[NodeNumber]) -> Vec<String> {
    AGENTS.iter().flat_map(|folder| forget_agents_in(Path::new(folder), nodes)).collect()
}

fn forget_agents_in(folder: &Path, nodes: &[NodeNumber]) -> Vec<String> {
    let removed = nodes.iter().filter_map(|node| files::remove(&folder.join(node.name())).err());
    let left = removed.map(|error| error.to_string()).collect();
    // Only when it is empty.
    let _ = fs::remove_dir(folder);
    left
}

fn unmount(path: &Path) -> Option<String> {
    if !mount_points().ok()?.contains(&path.to_owned()) {
        return None;
    }
    // What is pinned there lives only as long as the mount: another program may need it.
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    let holds = entries.find(|entry| !KERNELS_OWN_PINS.iter().any(|own| entry.file_name() == *own));
    if let Some(entry) = holds.filter(|_| path != Path::new(TRACING)) {
        return Some(format!("{} is still mounted, it holds {}", path.display(), entry.file_name().display()));
    }
    match umount2(path, MntFlags::empty()) {
        Ok(()) => None,
        Err(Errno::EBUSY) => {
            eprintln!("          {} stays mounted: a program that is not of this cluster uses it", path.display());
            None
        }
        Err(error) => Some(format!("{} is still mounted: {error}", path.display())),
    }
}

/// Unmounts everything below a folder, the last mounted first; lazily, as dead pods may still be named by it.
pub(crate) fn unmount_below(folder: &Path) {
    let Ok(mut points) = mount_points() else { return };
    points.retain(|point| point.starts_with(folder));
    for point in points.iter().rev() {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
}

pub(crate) fn mount_points() -> Result<Vec<PathBuf>> {
    Ok(parse_mounts(&files::read(Path::new("/proc/self/mounts"))?))
}

fn parse_mounts(text: &str) -> Vec<PathBuf> {
    let points = text.lines().filter_map(|line| line.split(' ').nth(1));
    points.map(|point| PathBuf::from(point.replace("\\040", " ").replace("\\134", "\\"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read_back() {
        let text = "tmpfs /run tmpfs rw 0 0\noverlay /a\\040b/rootfs overlay rw 0 0\n";
        assert_eq!(parse_mounts(text), [PathBuf::from("/run"), PathBuf::from("/a b/rootfs")]);
    }

    #[test]
    fn agents_of_the_clusters_nodes_are_forgotten_and_another_is_not() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("trilobite");
        for file in ["node1/last-good.json", "node2/agent.sock", "laptop/agent.sock"] {
            files::write(&folder.join(file), "").unwrap();
        }
        assert_eq!(forget_agents_in(&folder, &[NodeNumber(1), NodeNumber(2)]), Vec::<String>::new());
        assert!(!folder.join("node1").exists() && !folder.join("node2").exists());
        assert!(folder.join("laptop/agent.sock").exists());

        files::remove(&folder.join("laptop")).unwrap();
        forget_agents_in(&folder, &[NodeNumber(1)]);
        assert!(!folder.exists(), "an empty folder goes too");
    }

    #[test]
    fn sampling_is_let_through_where_debian_refuses_it_and_nowhere_else() {
        let original = |level: &str| OriginalSettings {
            sysctls: [(PARANOID.to_owned(), level.to_owned())].into(),
            ..OriginalSettings::default()
        };
        assert_eq!(["3", "4"].map(|level| lowered(&original(level))), [Some(2), Some(2)]);
        assert_eq!(["2", "1", "-1"].map(|level| lowered(&original(level))), [None; 3]);
        assert_eq!(lowered(&OriginalSettings::default()), None, "a kernel without perf events");
        assert!(inspect().unwrap().sysctls.contains_key(PARANOID), "`down` does not restore it");
    }

    #[test]
    fn what_was_there_before_is_not_noted_as_missing() {
        let original = inspect().unwrap();
        assert!(original.sysctls.contains_key("net/ipv4/ip_forward"));
        assert!(original.missing_folders.iter().all(|path| !path.exists()));
    }
}
