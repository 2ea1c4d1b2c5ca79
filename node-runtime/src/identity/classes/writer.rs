//! Keeps the kernel's maps of cgroups and classes, and the rows of hooks, in sync with the index.

use std::collections::{BTreeMap, HashSet};

use super::{
    ClassListener,
    answers::ClassAnswers,
    table::{ClassTable, DesiredGroup, Write},
};
use crate::kernel::Map;

/// The maps that programs of every kind share.
pub(in crate::identity) struct SelectionKernelMaps {
    pub(in crate::identity) cgroups: Map,
    pub(in crate::identity) classes: Map,
}

/// The classes that the kernel's maps have, and who is notified of them.
#[derive(Default)]
pub(in crate::identity) struct ClassWriter {
    table: ClassTable,
    listeners: BTreeMap<u64, ClassListener>,
    next_listener: u64,
    /// Cgroups whose entry the kernel refused.
    refused: HashSet<u64>,
}

impl ClassWriter {
    /// Makes the maps equal to what is desired. Returns how many cgroups newly found no room in the map, or no class; the next
    /// call tries them again.
    pub(in crate::identity) fn sync(
        &mut self,
        maps: &SelectionKernelMaps,
        desired: &[DesiredGroup],
        scopes: &ClassAnswers,
    ) -> u64 {
        let (writes, unclassed) = self.table.plan(desired, scopes);
        if unclassed > 0 {
            tracing::warn!(
                cgroups = unclassed,
                "no class is left: policies report these cgroups' acts, and do not enforce there"
            );
        }
        let mut refused = 0;
        for write in writes {
            let done = match &write {
                Write::Notify { class, answers } => {
                    self.listeners.values().for_each(|listener| listener(*class, answers));
                    Ok(())
                }
                Write::Class { class, answers } => maps.classes.set(class, &answers.to_kernel()),
                Write::Cgroup { id, state, .. } => maps.cgroups.set(id, state),
                Write::Remove { id } => maps.cgroups.delete(id),
            };
            refused += self.record_outcome(&write, done);
        }
        refused + unclassed
    }

    /// Notes the outcome of a write; 1 for a cgroup that is newly refused.
    fn record_outcome<E: std::fmt::Display>(&mut self, write: &Write, done: Result<(), E>) -> u64 {
        match (write, done) {
            (Write::Cgroup { id, .. } | Write::Remove { id }, Ok(())) => drop(self.refused.remove(id)),
            (Write::Cgroup { id, before, .. }, Err(error)) => {
                self.table.restore_cgroup(*id, *before);
                if self.refused.insert(*id) {
                    tracing::warn!(%error, id, "the selection of a cgroup was not written to the kernel");
                    return 1;
                }
            }
            (_, Err(error)) => tracing::error!(%error, ?write, "the kernel's selection of pods is not as it should be"),
            (_, Ok(())) => {}
        }
        0
    }

    /// Some cgroup has no entry, or no class.
    pub(in crate::identity) fn is_incomplete(&self) -> bool {
        !self.refused.is_empty() || self.table.unclassed() > 0
    }

    /// Every record of a cgroup so far is applied: class ids that nothing can have any more become free.
    pub(in crate::identity) fn tick(&mut self) {
        self.table.tick();
    }

    pub(in crate::identity) fn add_listener(&mut self, listener: ClassListener) -> u64 {
        self.table.classes().for_each(|(class, answers)| listener(class, answers));
        self.next_listener += 1;
        self.listeners.insert(self.next_listener, listener);
        self.next_listener
    }

    pub(in crate::identity) fn remove_listener(&mut self, number: u64) {
        self.listeners.remove(&number);
    }

    /// The kernel's maps are gone; the next ones begin empty. Listeners stay.
    pub(in crate::identity) fn forget_maps(&mut self) {
        self.table = ClassTable::default();
        self.refused.clear();
    }
}
