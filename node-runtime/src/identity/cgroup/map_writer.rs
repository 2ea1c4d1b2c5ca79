//! Keeps the kernel's map of cgroups in sync with the index. Pure: the caller passes how to set and delete an entry.

use std::collections::{HashMap, HashSet};

use trilobite_node_ebpf::CgroupState;

/// The entries that the kernel's map has, and those that it refused.
#[derive(Debug, Default)]
pub(in crate::identity) struct CgroupMapWriter {
    states: HashMap<u64, CgroupState>,
    refused: HashSet<u64>,
}

impl CgroupMapWriter {
    /// Makes the map equal to `desired` and returns the number of newly refused cgroups. Deletes first, to make room; a refused
    /// cgroup is tried again by the next call.
    pub(in crate::identity) fn sync<E: std::fmt::Display>(
        &mut self,
        desired: HashMap<u64, CgroupState>,
        mut delete: impl FnMut(u64) -> Result<(), E>,
        mut set: impl FnMut(u64, &CgroupState) -> Result<(), E>,
    ) -> u64 {
        self.states.retain(|id, _| desired.contains_key(id) || delete(*id).is_err());
        self.refused.retain(|id| desired.contains_key(id));
        let mut newly_refused = 0;
        for (id, state) in desired {
            if self.states.get(&id) == Some(&state) {
                continue;
            }
            match set(id, &state) {
                Ok(()) => {
                    self.states.insert(id, state);
                    self.refused.remove(&id);
                }
                Err(error) => {
                    if self.refused.insert(id) {
                        newly_refused += 1;
                        tracing::warn!(%error, id, "the selection of a cgroup was not written to the kernel");
                    }
                }
            }
        }
        newly_refused
    }

    /// The kernel refused some cgroup.
    pub(in crate::identity) fn is_incomplete(&self) -> bool {
        !self.refused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(ids: &[u64]) -> HashMap<u64, CgroupState> {
        ids.iter().map(|id| (*id, CgroupState { known: 1, selected: 1, ..CgroupState::default() })).collect()
    }

    /// A map that has room for this many entries.
    struct Room(usize, HashMap<u64, CgroupState>);

    fn sync(writer: &mut CgroupMapWriter, room: &mut Room, ids: &[u64]) -> u64 {
        let map = std::cell::RefCell::new(&mut room.1);
        let delete = |id| {
            map.borrow_mut().remove(&id);
            Ok(())
        };
        let set = |id, state: &CgroupState| {
            let full = map.borrow().len() == room.0 && !map.borrow().contains_key(&id);
            if full {
                return Err("no room");
            }
            map.borrow_mut().insert(id, *state);
            Ok(())
        };
        writer.sync(states(ids), delete, set)
    }

    #[test]
    fn refused_cgroup_counts_once_and_is_written_when_there_is_room() {
        let (mut writer, mut room) = (CgroupMapWriter::default(), Room(2, HashMap::new()));
        assert_eq!(sync(&mut writer, &mut room, &[1, 2, 3]), 1);
        assert_eq!(sync(&mut writer, &mut room, &[1, 2, 3]), 0);
        assert!(writer.is_incomplete());
        let left: Vec<u64> = (1..=3).filter(|id| !room.1.contains_key(id)).collect();
        let gone = (1..=3).find(|id| *id != left[0]).unwrap();
        let stay: Vec<u64> = (1..=3).filter(|id| *id != gone).collect();
        assert_eq!(sync(&mut writer, &mut room, &stay), 0);
        assert!(!writer.is_incomplete());
        assert_eq!(room.1, states(&stay));
    }
}
