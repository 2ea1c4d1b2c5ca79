//! Conditions that processes inherit: what the kernel's maps contain of them, and which running processes meet them. Pure.

use std::collections::{BTreeMap, HashMap};

use trilobite_node_ebpf::FOLLOW_PATH_BYTES;

use super::{
    cache::ProcessCache,
    image::{ExecKey, Process},
};
use crate::plan::policy::{binaries::FollowCondition, dimension::NamespaceKind};

/// Longer lists of ancestors are cut.
const MAX_ANCESTORS: usize = 4096;

/// Index in `Process::namespaces`.
const PID_NAMESPACE: usize = NamespaceKind::Pid as usize;

/// Conditions by their bit.
pub type FollowConditions = BTreeMap<u8, FollowCondition>;

/// Conditions that the kernel's maps have.
#[derive(Debug, Default)]
pub(in crate::identity) struct ActiveConditions {
    pub(in crate::identity) conditions: FollowConditions,
    /// Bits that processes may have, also of conditions that are gone.
    pub(in crate::identity) used: u64,
}

/// Keys of the kernel's maps with their bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::identity) struct FollowKeys {
    /// By the names of a file, leaf first, each with a NUL behind it.
    pub(in crate::identity) paths: BTreeMap<Vec<u8>, u64>,
    /// By pid, and whether it is that in the process's own namespace.
    pub(in crate::identity) pids: BTreeMap<(u32, bool), u64>,
}

/// What a running process has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::identity) struct Assignment {
    pub(in crate::identity) key: ExecKey,
    /// By itself or by an ancestor.
    pub(in crate::identity) own: u64,
    pub(in crate::identity) parent: u64,
}

/// The bits of these conditions.
pub(in crate::identity) fn bits(conditions: &FollowConditions) -> u64 {
    conditions.keys().fold(0, |bits, bit| bits | 1 << bit)
}

/// The bits of those about pids in a process's own namespace, which do not pass from the host to a container.
pub(in crate::identity) fn namespaced(conditions: &FollowConditions) -> u64 {
    conditions.iter().filter(|(_, condition)| condition.is_namespaced()).fold(0, |bits, (bit, _)| bits | 1 << bit)
}

impl FollowKeys {
    pub(in crate::identity) fn new(conditions: &FollowConditions) -> Self {
        let mut keys = Self::default();
        for (bit, condition) in conditions {
            match condition {
                FollowCondition::Binaries(paths) => {
                    for names in paths.iter().filter_map(|path| names(path)) {
                        *keys.paths.entry(names).or_default() |= 1 << bit;
                    }
                }
                FollowCondition::Pids { in_own_namespace, pids } => {
                    for pid in pids {
                        *keys.pids.entry((*pid, *in_own_namespace)).or_default() |= 1 << bit;
                    }
                }
            }
        }
        keys
    }
}

/// The names of a path as the kernel writes them; none for a text that is no path of a file, which nothing executes.
fn names(path: &[u8]) -> Option<Vec<u8>> {
    let mut names = Vec::with_capacity(path.len());
    for name in path.strip_prefix(b"/")?.split(|byte| *byte == b'/').rev() {
        if name.is_empty() {
            return None;
        }
        names.extend(name);
        names.push(0);
    }
    (names.len() <= FOLLOW_PATH_BYTES as usize).then_some(names)
}

/// What all running processes have met, as far as the cache knows them and their ancestors.
pub(in crate::identity) fn assignments(cache: &ProcessCache, conditions: &FollowConditions) -> Vec<Assignment> {
    let mut known: HashMap<ExecKey, u64> = HashMap::new();
    let all = cache.living().map(|process| Assignment {
        key: process.key,
        own: met(cache, conditions, process.key, &mut known),
        parent: met(cache, conditions, process.parent, &mut known),
    });
    all.filter(|found| found.own | found.parent != 0).collect()
}

/// What an image and its ancestors have met; `known` has the answers so far.
fn met(cache: &ProcessCache, conditions: &FollowConditions, key: ExecKey, known: &mut HashMap<ExecKey, u64>) -> u64 {
    let (mut unknown, mut next, mut bits) = (Vec::new(), key, 0);
    while unknown.len() < MAX_ANCESTORS {
        if let Some(found) = known.get(&next) {
            bits = *found;
            break;
        }
        let Some(process) = cache.get(next) else { break };
        next = process.parent;
        unknown.push(process);
    }
    let mut is_on_host = cache.get(next).is_none_or(|above| namespace_pid(&above) == 0);
    for process in unknown.into_iter().rev() {
        let was_on_host = std::mem::replace(&mut is_on_host, namespace_pid(&process) == 0);
        if was_on_host && !is_on_host {
            bits &= !namespaced(conditions);
        }
        bits |= met_alone(conditions, &process);
        known.insert(process.key, bits);
    }
    bits
}

/// As policies know it: 0 on the host.
fn namespace_pid(process: &Process) -> u32 {
    if Some(process.namespaces[PID_NAMESPACE]) == NamespaceKind::Pid.initial_inode() { 0 } else { process.ns_pid }
}

fn met_alone(conditions: &FollowConditions, process: &Process) -> u64 {
    let path = process.file.as_deref().unwrap_or(&process.binary).as_bytes();
    conditions.iter().fold(0, |bits, (bit, condition)| {
        bits | u64::from(condition.is_met(path, process.key.pid, namespace_pid(process))) << bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::decode::Image;

    fn key(pid: u32) -> ExecKey {
        ExecKey { ktime: u64::from(pid) * 10, pid }
    }

    fn binaries(paths: &[&str]) -> FollowCondition {
        FollowCondition::Binaries(paths.iter().map(|path| path.as_bytes().to_vec()).collect())
    }

    fn pids(in_own_namespace: bool, pids: &[u32]) -> FollowCondition {
        FollowCondition::Pids { in_own_namespace, pids: pids.iter().copied().collect() }
    }

    /// A process with an `ns_pid` is in a container.
    fn record(cache: &mut ProcessCache, pid: u32, parent: u32, binary: &str, ns_pid: u32) {
        let mut namespaces = [0; 10];
        namespaces[PID_NAMESPACE] =
            if ns_pid == 0 { NamespaceKind::Pid.initial_inode().unwrap() } else { 4_026_532_000 };
        let process = Process {
            key: key(pid),
            parent: key(parent),
            binary: binary.into(),
            flags: "execve".into(),
            started_ns: u64::from(pid) * 10,
            namespaces,
            ns_pid: if ns_pid == 0 { pid } else { ns_pid },
            ..Process::default()
        };
        cache.record_exec(Image { process, ..Image::default() });
    }

    #[test]
    fn keys_have_the_bits_of_all_conditions_that_name_them() {
        let conditions: FollowConditions = [
            (0, binaries(&["/usr/bin/curl", "/bin/sh"])),
            (5, binaries(&["/bin/sh", "relative", "/usr//bin/twice", "/"])),
            (63, pids(true, &[1])),
            (7, pids(false, &[1])),
        ]
        .into();
        let keys = FollowKeys::new(&conditions);
        assert_eq!(keys.paths, [(b"curl\0bin\0usr\0".to_vec(), 1), (b"sh\0bin\0".to_vec(), 0b10_0001)].into());
        assert_eq!(keys.pids, [((1, true), 1 << 63), ((1, false), 1 << 7)].into());
        assert_eq!(bits(&conditions), 1 << 63 | 0b1010_0001);
    }

    #[test]
    fn running_processes_have_what_their_ancestors_have_met() {
        let mut cache = ProcessCache::default();
        record(&mut cache, 1, 0, "/sbin/init", 0);
        record(&mut cache, 2, 1, "/usr/sbin/sshd", 0);
        record(&mut cache, 3, 2, "/bin/sh", 1);
        record(&mut cache, 4, 3, "/bin/cat", 2);
        record(&mut cache, 5, 1, "/usr/sbin/cron", 0);
        let conditions: FollowConditions =
            [(0, binaries(&["/usr/sbin/sshd"])), (1, pids(false, &[3])), (2, pids(true, &[1]))].into();
        let mut found: Vec<_> =
            assignments(&cache, &conditions).iter().map(|found| (found.key.pid, found.own, found.parent)).collect();
        found.sort_unstable();
        // The host's first process is none of a container.
        assert_eq!(found, [(2, 1, 0), (3, 7, 1), (4, 7, 7)]);
    }

    #[test]
    fn condition_on_the_host_ends_where_a_container_begins() {
        let mut cache = ProcessCache::default();
        record(&mut cache, 1, 0, "/sbin/init", 0);
        record(&mut cache, 2, 1, "/usr/bin/runc", 0);
        record(&mut cache, 3, 2, "/bin/sh", 1);
        record(&mut cache, 4, 3, "/bin/cat", 2);
        let conditions: FollowConditions = [(0, pids(true, &[0])), (1, pids(false, &[1]))].into();
        let mut found: Vec<_> =
            assignments(&cache, &conditions).iter().map(|found| (found.key.pid, found.own)).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 3), (2, 3), (3, 2), (4, 2)]);
    }

    #[test]
    fn file_that_runs_counts_and_not_the_name_that_was_called() {
        let mut cache = ProcessCache::default();
        let process = Process {
            key: key(2),
            binary: "/usr/bin/python3".into(),
            file: Some("/usr/bin/python3.13".into()),
            flags: "execve".into(),
            ..Process::default()
        };
        cache.record_exec(Image { process, ..Image::default() });
        let found = |path| assignments(&cache, &[(0, binaries(&[path]))].into()).len();
        assert_eq!((found("/usr/bin/python3"), found("/usr/bin/python3.13")), (0, 1));
    }
}
