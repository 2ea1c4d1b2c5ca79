//! The command line of a guest's QEMU: pure.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::addresses::NodeNumber;

/// Raises the priority of what it starts, where it may.
pub(super) const PROGRAM: &str = "nice";

/// A guest that waits for this machine's processor answers none of its kubelet's probes in time.
const PRIORITY: [&str; 3] = ["-n", "-10", "qemu-system-x86_64"];

/// Containerd, kubelet, an agent and some pods; QEMU takes from this machine what the guest touches.
const MEMORY_MIB: &str = "3072";

/// `no_timer_check` and the others: an emulated processor that had to wait is not a broken one. AppArmor needs a program in
/// user space that the disk does not have.
const PARAMETERS: &str = "console=ttyS0 quiet panic=-1 rdinit=/init no_timer_check nowatchdog \
                          rcupdate.rcu_cpu_stall_suppress=1 apparmor=0 mitigations=off";

/// Files that a machine boots from.
pub(super) struct Parts {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub disk: PathBuf,
}

/// `cx16=off`: QEMU 7.2's cmpxchg16b corrupts the slab allocator of 6.12.
pub(super) fn arguments(parts: &Parts, node: NodeNumber) -> Vec<OsString> {
    let path = |path: &PathBuf| path.display().to_string();
    let tap = node.namespace().unwrap_or_default();
    let words = [
        ["-accel", "tcg,thread=multi"].map(str::to_owned),
        ["-cpu", "max,cx16=off"].map(str::to_owned),
        ["-smp", "2"].map(str::to_owned),
        ["-m", MEMORY_MIB].map(str::to_owned),
        ["-display", "none"].map(str::to_owned),
        ["-monitor", "none"].map(str::to_owned),
        ["-serial", "stdio"].map(str::to_owned),
        ["-kernel".to_owned(), path(&parts.kernel)],
        ["-initrd".to_owned(), path(&parts.initramfs)],
        ["-append", PARAMETERS].map(str::to_owned),
        // What the guest has written survives the end of QEMU, though not the end of this machine.
        ["-drive".to_owned(), format!("file={},if=virtio,format=raw,cache=unsafe", path(&parts.disk))],
        ["-netdev".to_owned(), format!("tap,id=bridge,ifname={tap},script=no,downscript=no")],
        ["-device", "virtio-net-pci,netdev=bridge,romfile="].map(str::to_owned),
    ];
    let machine = words.into_iter().flatten().chain(["-no-reboot".to_owned()]);
    PRIORITY.map(str::to_owned).into_iter().chain(machine).map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_of_a_guest_is_the_tap_of_its_node() {
        let parts = Parts { kernel: "/k".into(), initramfs: "/i".into(), disk: "/state/node2/disk".into() };
        let line = arguments(&parts, NodeNumber(2)).join(&OsString::from(" ")).into_string().unwrap();
        assert!(line.contains("ifname=trilo-node2,script=no"), "{line}");
        assert!(line.contains("file=/state/node2/disk,if=virtio"), "{line}");
        assert!(line.contains("cx16=off"), "{line}");
    }
}
