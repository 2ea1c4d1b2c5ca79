//! What the kernel's map of cgroups holds, as far as the kernel has taken it. Pure: whoever has the map writes.

use std::collections::{HashMap, HashSet};

use trilobite_node_ebpf::process::CgroupState;

/// States that the kernel has, by cgroup.
#[derive(Debug, Default)]
pub(super) struct Written {
    states: HashMap<u64, CgroupState>,
    refused: HashSet<u64>,
}

impl Written {
    /// Brings the map in line with `wanted`; how many cgroups it has refused that it had not refused before. What goes
    /// makes room for what comes. One that was refused is tried again the next time.
    pub(super) fn bring_in_line<E: std::fmt::Display>(
        &mut self,
        wanted: HashMap<u64, CgroupState>,
        mut delete: impl FnMut(u64) -> Result<(), E>,
        mut set: impl FnMut(u64, &CgroupState) -> Result<(), E>,
    ) -> u64 {
        self.states.retain(|id, _| wanted.contains_key(id) || delete(*id).is_err());
        self.refused.retain(|id| wanted.contains_key(id));
        let mut newly_refused = 0;
        for (id, state) in wanted {
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
                        tracing::warn!(%error, id, "a cgroup's selection was not written");
                    }
                }
            }
        }
        newly_refused
    }

    /// Some cgroup's selection is not in the kernel.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.refused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(ids: &[u64]) -> HashMap<u64, CgroupState> {
        ids.iter().map(|id| (*id, CgroupState { decided: 1, wanted: 1, ..CgroupState::default() })).collect()
    }

    /// A map with room for so many.
    struct Room(usize, HashMap<u64, CgroupState>);

    fn bring(written: &mut Written, room: &mut Room, ids: &[u64]) -> u64 {
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
        written.bring_in_line(wanted(ids), delete, set)
    }

    #[test]
    fn a_cgroup_that_found_no_room_counts_once_and_is_written_when_there_is_some() {
        let (mut written, mut room) = (Written::default(), Room(2, HashMap::new()));
        assert_eq!(bring(&mut written, &mut room, &[1, 2, 3]), 1);
        assert_eq!(bring(&mut written, &mut room, &[1, 2, 3]), 0);
        assert!(written.is_incomplete());
        let left: Vec<u64> = (1..=3).filter(|id| !room.1.contains_key(id)).collect();
        let gone = (1..=3).find(|id| *id != left[0]).unwrap();
        let stay: Vec<u64> = (1..=3).filter(|id| *id != gone).collect();
        assert_eq!(bring(&mut written, &mut room, &stay), 0);
        assert!(!written.is_incomplete());
        assert_eq!(room.1, wanted(&stay));
    }
}
