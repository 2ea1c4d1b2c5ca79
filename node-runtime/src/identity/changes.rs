//! What happens to processes, from the ring through the table to those who follow.

use std::{pin::Pin, sync::Arc};

use super::{
    Process,
    decode::{self, Exit, ProcessRecordOf},
    processes::Processes,
};

/// What happened to a process, for those who follow.
#[derive(Clone, Debug)]
pub enum ProcessChange {
    /// It was made.
    Fork(Arc<Process>),
    /// Its image was replaced.
    Exec(Arc<Process>),
    /// It ended.
    Exit(Arc<Process>, Exit),
}

/// Whoever wants to hear of processes as they change.
pub type Listener = Arc<dyn Fn(&ProcessChange) + Send + Sync>;

/// Is done when those who are told of changes have room for more, or after a moment.
pub type Pace = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Enters a record of the ring into the table, and adds what is to be told of it.
pub(super) fn enter(processes: &mut Processes, bytes: &[u8], changes: &mut Vec<ProcessChange>) {
    match decode::process(bytes) {
        Some(ProcessRecordOf::Fork(fork)) => changes.extend(processes.fork(&fork).map(ProcessChange::Fork)),
        Some(ProcessRecordOf::Exec(image)) => changes.extend(processes.exec(&image).map(ProcessChange::Exec)),
        Some(ProcessRecordOf::Exit(exit)) => {
            changes.extend(processes.exit(&exit).map(|process| ProcessChange::Exit(process, exit)));
        }
        None => tracing::warn!(bytes = bytes.len(), "a record of the process ring is none that we know"),
    }
}

/// Every change to every listener, in their order.
pub(super) fn tell(listeners: &[Listener], changes: &[ProcessChange]) {
    for change in changes {
        for listener in listeners {
            listener(change);
        }
    }
}
