//! What records of processes have in common: the key, and credentials.

use trilobite_node_ebpf::{Record, TaskCredentials};

use crate::identity::{Credentials, ExecKey, UserNamespace};

pub(super) fn key(header: &Record) -> ExecKey {
    ExecKey { ktime: header.exec_ktime, pid: header.exec_pid }
}

pub(super) fn credentials(record: &TaskCredentials) -> Credentials {
    let TaskCredentials { uid, gid, permitted, effective, inheritable, securebits, .. } = *record;
    let user_namespace =
        UserNamespace { level: record.user_ns_level, owner: record.user_ns_owner, group: record.user_ns_group };
    Credentials { uid, gid, permitted, effective, inheritable, securebits, user_namespace }
}
