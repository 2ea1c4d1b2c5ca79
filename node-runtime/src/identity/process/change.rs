//! Changes of processes: from a record of the ring through the cache to the listeners.

use std::sync::Arc;

use super::{cache::ProcessCache, image::Process};
use crate::identity::decode::{self, ArgumentPieces, Exit, ProcessRecord};

/// A change of one process, as listeners see it. The parent is looked up when the record is applied: when listeners are notified
/// of a long list of records, the cache may have given up what the first ones are about.
#[derive(Clone, Debug)]
pub enum ProcessChange {
    Fork(Arc<Process>),
    Exec {
        process: Arc<Process>,
        parent: Option<Arc<Process>>,
    },
    /// The last image of the process, and how it ended.
    Exit {
        process: Arc<Process>,
        parent: Option<Arc<Process>>,
        exit: Exit,
    },
}

/// Called for each change, in the order of the records.
pub type ProcessListener = Arc<dyn Fn(&ProcessChange) + Send + Sync>;

/// Applies a record of the ring to the cache, and appends the change that listeners are to see.
pub(in crate::identity) fn record_change(
    cache: &mut ProcessCache,
    pieces: &mut ArgumentPieces,
    bytes: &[u8],
    changes: &mut Vec<ProcessChange>,
) {
    match decode::process(bytes, pieces) {
        Some(ProcessRecord::Fork(fork)) => changes.extend(cache.record_fork(&fork).map(ProcessChange::Fork)),
        Some(ProcessRecord::Exec(image)) => {
            let process = cache.record_exec(*image);
            let parent = |process: &Process| cache.get(process.parent);
            changes.extend(process.map(|process| ProcessChange::Exec { parent: parent(&process), process }));
        }
        Some(ProcessRecord::Exit(exit)) => {
            let process = cache.record_exit(&exit);
            let parent = |process: &Process| cache.get(process.parent);
            changes.extend(process.map(|process| ProcessChange::Exit { parent: parent(&process), process, exit }));
        }
        Some(ProcessRecord::Arguments) => {}
        None => tracing::warn!(bytes = bytes.len(), "the process ring holds a record of an unknown layout or kind"),
    }
}

pub(in crate::identity) fn notify_listeners(listeners: &[ProcessListener], changes: &[ProcessChange]) {
    for change in changes {
        for listener in listeners {
            listener(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use trilobite_node_ebpf::{ExecRecord, ExitRecord, ForkRecord, RECORD_LAYOUT, Record, RecordKind, process_flag};
    use zerocopy::IntoBytes;

    use super::*;
    use crate::identity::ExecKey;

    /// One process of a machine that writes records as the kernel does.
    #[derive(Clone, Copy)]
    struct Running {
        key: ExecKey,
        parent: ExecKey,
    }

    struct Machine {
        time: u64,
        running: Vec<Running>,
        last_pid: u32,
    }

    impl Machine {
        fn header(&self, kind: RecordKind, size: usize, key: ExecKey) -> Record {
            Record {
                layout: RECORD_LAYOUT,
                kind: kind as u16,
                size: size as u32,
                time: self.time,
                cgroup: 7,
                exec_ktime: key.ktime,
                exec_pid: key.pid,
                tid: key.pid,
                ..Record::default()
            }
        }

        /// A child, or with CLONE_PARENT a sibling.
        fn fork(&mut self, forker: usize, is_sibling: bool) -> Vec<u8> {
            let forker = self.running[forker];
            self.last_pid += 1;
            let key = ExecKey { ktime: self.time, pid: self.last_pid };
            let parent = if is_sibling { forker.parent } else { forker.key };
            self.running.push(Running { key, parent });
            let record = ForkRecord {
                header: self.header(RecordKind::Fork, size_of::<ForkRecord>(), key),
                parent_ktime: parent.ktime,
                parent_pid: parent.pid,
                forker_ktime: forker.key.ktime,
                forker_pid: forker.key.pid,
                ..ForkRecord::default()
            };
            record.as_bytes().to_vec()
        }

        fn exec(&mut self, which: usize) -> Vec<u8> {
            let Running { key: before, parent } = self.running[which];
            let key = ExecKey { ktime: before.ktime + 1, ..before };
            self.running[which].key = key;
            let record = ExecRecord {
                header: self.header(RecordKind::Exec, size_of::<ExecRecord>(), key),
                parent_ktime: parent.ktime,
                parent_pid: parent.pid,
                replaced_ktime: before.ktime,
                flags: process_flag::EXECVE,
                ..ExecRecord::default()
            };
            record.as_bytes().to_vec()
        }

        fn exit(&mut self, which: usize) -> Vec<u8> {
            let Running { key, parent } = self.running.remove(which);
            let record = ExitRecord {
                header: self.header(RecordKind::Exit, size_of::<ExitRecord>(), key),
                parent_ktime: parent.ktime,
                parent_pid: parent.pid,
                ..ExitRecord::default()
            };
            record.as_bytes().to_vec()
        }
    }

    /// Fails when a change has no parent although a change of that parent came before.
    fn check_parents(changes: &[ProcessChange], seen: &mut HashSet<ExecKey>) -> Result<(), TestCaseError> {
        for change in changes {
            let (process, parent) = match change {
                ProcessChange::Fork(_) => continue,
                ProcessChange::Exec { process, parent } | ProcessChange::Exit { process, parent, .. } => {
                    (process, parent)
                }
            };
            let resolved = parent.as_ref().map(|parent| parent.key);
            if seen.contains(&process.parent) {
                prop_assert_eq!(resolved, Some(process.parent), "{:?}", process);
            }
            seen.insert(process.key);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_parent_that_was_reported_resolves(
            steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>(), 1_u64..9_000_000_000), 1..200),
            late in any::<bool>(),
        ) {
            let (mut cache, mut pieces) = (ProcessCache::default(), ArgumentPieces::default());
            let first = Running { key: ExecKey { ktime: 5, pid: 1 }, parent: ExecKey::default() };
            let mut machine = Machine { time: 100, running: vec![first], last_pid: 1 };
            let mut seen = HashSet::new();
            for (step, which, pause) in steps {
                let which = which.index(machine.running.len());
                let record = match step {
                    0 => machine.fork(which, false),
                    1 => machine.fork(which, true),
                    2 | 3 => machine.exec(which),
                    _ if machine.running.len() > 1 => machine.exit(which),
                    _ => continue,
                };
                machine.time += pause;
                if !late {
                    cache.set_read_time(machine.time);
                    cache.expire(machine.time);
                }
                let mut changes = Vec::new();
                record_change(&mut cache, &mut pieces, &record, &mut changes);
                check_parents(&changes, &mut seen)?;
            }
        }
    }
}
