//! Probes the facts, once, at start.

use std::{fs, path::Path, thread};

use nix::sys::utsname::uname;

use super::{Facts, PacketAttach, Release, capabilities, cgroup, perf, perf_paranoid, uprobe};

/// `cgroup_root` is the mount point of the host's cgroup file system; by default the one in this mount namespace.
pub fn facts(cgroup_root: Option<&Path>) -> Facts {
    let release_text = release_text();
    let cgroups = cgroup::read_tree(cgroup_root);
    Facts {
        release: numbers_of(&release_text),
        packet_attach: packet_attach(),
        release_text,
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        cgroup: cgroups.mode,
        cgroup_root: cgroups.root,
        node_cgroup: cgroups.node,
        node_cgroup_level: cgroups.level,
        capabilities: capabilities::effective(),
        perf_paranoid: perf_paranoid::paranoid(),
        perf_refused: perf::is_refused(),
        uprobes: uprobe::access(),
        cpus: thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        boot_id: boot_id(),
    }
}

pub fn release() -> Release {
    numbers_of(&release_text())
}

pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// By tcx where the kernel has it, unless a test avoids it.
pub fn packet_attach() -> PacketAttach {
    let avoided = std::env::var("TRILOBITE_AVOID_ATTACHING_BY").unwrap_or_default();
    let has_tcx = release() >= Release { major: 6, minor: 6 };
    if has_tcx && !avoided.split(',').any(|way| way == "tcx") { PacketAttach::Tcx } else { PacketAttach::Clsact }
}

fn release_text() -> String {
    uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

fn numbers_of(text: &str) -> Release {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or_default());
    Release { major: numbers.next().unwrap_or_default(), minor: numbers.next().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_its_first_two_numbers() {
        assert_eq!(numbers_of("5.10.0-46-cloud-amd64"), Release { major: 5, minor: 10 });
        assert_eq!(numbers_of("7.2"), Release { major: 7, minor: 2 });
        assert_eq!(numbers_of(""), Release::default());
    }
}
