//! Changes of processes: from a record of the ring through the cache to the listeners.

use std::sync::Arc;

use super::{cache::ProcessCache, image::Process};
use crate::identity::decode::{self, Exit, ProcessRecord};

/// A change of one process, as listeners see it.
#[derive(Clone, Debug)]
pub enum ProcessChange {
    Fork(Arc<Process>),
    Exec(Arc<Process>),
    /// The last image of the process, and how it ended.
    Exit(Arc<Process>, Exit),
}

/// Called for each change, in the order of the records.
pub type ProcessListener = Arc<dyn Fn(&ProcessChange) + Send + Sync>;

/// Applies a record of the ring to the cache, and appends the change that listeners are to see.
pub(in crate::identity) fn record_change(cache: &mut ProcessCache, bytes: &[u8], changes: &mut Vec<ProcessChange>) {
    match decode::process(bytes) {
        Some(ProcessRecord::Fork(fork)) => changes.extend(cache.record_fork(&fork).map(ProcessChange::Fork)),
        Some(ProcessRecord::Exec(image)) => changes.extend(cache.record_exec(*image).map(ProcessChange::Exec)),
        Some(ProcessRecord::Exit(exit)) => {
            changes.extend(cache.record_exit(&exit).map(|process| ProcessChange::Exit(process, exit)));
        }
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
