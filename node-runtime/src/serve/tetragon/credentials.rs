//! Credentials and capability bits as Tetragon names them.

use trilobite_api::tetragon::{self as api, CapabilitiesType, ProcessPrivilegesChanged, SecureBitsType};

use crate::identity::{Credentials, Process};

/// The three sets, each in the kernel's order.
pub(super) fn capabilities(of: &Credentials) -> api::Capabilities {
    api::Capabilities {
        permitted: names(of.permitted),
        effective: names(of.effective),
        inheritable: names(of.inheritable),
    }
}

fn names(bits: u64) -> Vec<i32> {
    (0..64).filter(|bit| bits >> bit & 1 == 1 && CapabilitiesType::try_from(*bit).is_ok()).collect()
}

/// User and group ids, and the secure bits.
pub(super) fn ids(of: &Credentials) -> api::ProcessCredentials {
    let [uid, euid, suid, fsuid] = of.uid.map(Some);
    let [gid, egid, sgid, fsgid] = of.gid.map(Some);
    let securebits = (0..8)
        .map(|bit| 1 << bit)
        .filter(|bit| of.securebits.cast_signed() & bit != 0 && SecureBitsType::try_from(*bit).is_ok())
        .collect();
    api::ProcessCredentials { uid, gid, euid, egid, suid, sgid, fsuid, fsgid, securebits, ..Default::default() }
}

/// Only for an image that raised privileges or whose file was unlinked.
pub(super) fn binary_properties(of: &Process) -> Option<api::BinaryProperties> {
    let Process { setuid, setgid, inode: (number, links), .. } = of;
    let unlinked = *number != 0 && *links == 0;
    if setuid.is_none() && setgid.is_none() && !unlinked {
        return None;
    }
    let mut privileges_changed = Vec::new();
    if setuid.is_some() {
        privileges_changed.push(ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetuid.into());
    }
    if setgid.is_some() {
        privileges_changed.push(ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetgid.into());
    }
    let inode = api::InodeProperties { number: *number, links: Some(*links) };
    Some(api::BinaryProperties {
        setuid: *setuid,
        setgid: *setgid,
        privileges_changed,
        file: unlinked.then(|| api::FileProperties { inode: Some(inode), path: String::new() }),
    })
}
