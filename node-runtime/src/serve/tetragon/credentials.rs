//! Credentials and capability bits as Tetragon names them.

use trilobite_api::tetragon::{self as api, ProcessPrivilegesChanged};

use crate::identity::{Credentials, Process, UserNamespace};

/// Index of the user namespace in `Process::namespaces`.
const USER: usize = 9;

/// The three sets, each in the kernel's order. A capability of a newer kernel, which has no name here, is its number.
pub(super) fn capabilities(of: &Credentials) -> api::Capabilities {
    api::Capabilities {
        permitted: names(of.permitted),
        effective: names(of.effective),
        inheritable: names(of.inheritable),
    }
}

fn names(bits: u64) -> Vec<i32> {
    (0..64).filter(|bit| bits >> bit & 1 == 1).collect()
}

/// User and group ids, and the secure bits; one without a name is its number.
pub(super) fn ids(of: &Credentials) -> api::ProcessCredentials {
    let [uid, euid, suid, fsuid] = of.uid.map(Some);
    let [gid, egid, sgid, fsgid] = of.gid.map(Some);
    let securebits = (0..32).map(|bit| 1 << bit).filter(|bit| of.securebits.cast_signed() & bit != 0).collect();
    api::ProcessCredentials { uid, gid, euid, egid, suid, sgid, fsuid, fsgid, securebits, ..Default::default() }
}

/// Only the user namespace, in which the capabilities are valid.
pub(super) fn namespaces(of: &Process) -> Option<api::Namespaces> {
    let user = user_namespace_inode(of)?;
    Some(api::Namespaces { user: Some(user), ..api::Namespaces::default() })
}

/// None for the initial one.
pub(super) fn user_namespace(of: &Process) -> Option<api::UserNamespace> {
    let UserNamespace { level, owner, group } = of.credentials.user_namespace;
    let ns = user_namespace_inode(of).filter(|ns| !ns.is_host)?;
    Some(api::UserNamespace { level: Some(level.cast_signed()), uid: Some(owner), gid: Some(group), ns: Some(ns) })
}

fn user_namespace_inode(of: &Process) -> Option<api::Namespace> {
    let inum = of.namespaces[USER];
    (inum != 0).then_some(api::Namespace { inum, is_host: of.credentials.user_namespace.level == 0 })
}

/// Only for an image that raised privileges, whose file was unlinked, or whose file is another than `binary` says.
pub(super) fn binary_properties(of: &Process) -> Option<api::BinaryProperties> {
    let Process { binary, file, setuid, setgid, raised_by_file, inode: (number, links), .. } = of;
    let unlinked = *number != 0 && *links == 0;
    if setuid.is_none() && setgid.is_none() && !raised_by_file && !unlinked && file.is_none() {
        return None;
    }
    let mut privileges_changed = Vec::new();
    if *raised_by_file {
        privileges_changed.push(ProcessPrivilegesChanged::PrivilegesRaisedExecFileCap.into());
    }
    if setuid.is_some() {
        privileges_changed.push(ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetuid.into());
    }
    if setgid.is_some() {
        privileges_changed.push(ProcessPrivilegesChanged::PrivilegesRaisedExecFileSetgid.into());
    }
    let inode = (*number != 0).then_some(api::InodeProperties { number: *number, links: Some(*links) });
    let path = file.as_deref().unwrap_or(binary).to_owned();
    Some(api::BinaryProperties {
        setuid: *setuid,
        setgid: *setgid,
        privileges_changed,
        file: (unlinked || file.is_some()).then_some(api::FileProperties { inode, path }),
    })
}

#[cfg(test)]
mod tests {
    use trilobite_api::json;

    use super::*;

    #[test]
    fn file_is_named_beside_the_privileges_that_it_raised() {
        let named =
            Process { binary: "/dev/fd/3".into(), file: Some("/memfd:x".into()), inode: (7, 0), ..Process::default() };
        let inode = Some(api::InodeProperties { number: 7, links: Some(0) });
        let file = binary_properties(&named).and_then(|properties| properties.file);
        assert_eq!(file, Some(api::FileProperties { inode, path: "/memfd:x".into() }));
        let ping = Process { binary: "/bin/ping".into(), raised_by_file: true, inode: (8, 1), ..Process::default() };
        let properties = binary_properties(&ping).unwrap();
        assert_eq!(properties.privileges_changed, [i32::from(ProcessPrivilegesChanged::PrivilegesRaisedExecFileCap)]);
        assert_eq!(properties.file, None);
        assert_eq!(binary_properties(&Process { inode: (9, 1), ..Process::default() }), None);
    }

    #[test]
    fn initial_user_namespace_is_told_from_others() {
        let mut process = Process::default();
        assert_eq!((namespaces(&process), user_namespace(&process)), (None, None));
        process.namespaces[USER] = 0xEFFF_FFFD;
        let user = |process: &Process| namespaces(process).and_then(|ns| ns.user);
        assert_eq!(user(&process), Some(api::Namespace { inum: 0xEFFF_FFFD, is_host: true }));
        assert_eq!(user_namespace(&process), None);
        process.credentials.user_namespace = UserNamespace { level: 1, owner: 1000, group: 100 };
        assert!(user(&process).is_some_and(|user| !user.is_host));
        assert_eq!(user_namespace(&process).and_then(|ns| ns.uid), Some(1000));
    }

    #[test]
    fn capability_of_a_newer_kernel_is_its_number() {
        let credentials =
            Credentials { permitted: 1 << 50 | 1 << 21, securebits: 1 << 9 | 1, ..Credentials::default() };
        let process = api::Process {
            cap: Some(capabilities(&credentials)),
            process_credentials: Some(ids(&credentials)),
            ..Default::default()
        };
        let exec = api::ProcessExec { process: Some(process), ..Default::default() };
        let event = Some(api::get_events_response::Event::ProcessExec(exec));
        let text = json::to_string(&api::GetEventsResponse { event, ..Default::default() });
        assert!(text.contains(r#""cap":{"permitted":["CAP_SYS_ADMIN",50]}"#), "{text}");
        assert!(text.contains(r#""securebits":["SecBitNoRoot",512]"#), "{text}");
    }
}
