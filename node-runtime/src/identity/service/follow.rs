//! Makes conditions that processes inherit active in the kernel: for new processes and for those that run.

use trilobite_node_ebpf::{FOLLOW_ASSIGNMENTS, FollowBits, FollowPath, FollowPid, FollowProcess, FollowState};

use super::{
    rings::drain_process_ring,
    state::{Inner, State},
};
use crate::{
    identity::{
        ProcessChange,
        process::{
            FollowConditions,
            follow::{Assignment, FollowKeys, assignments, bits, namespaced},
        },
        programs::{AttachedPrograms, FollowMaps},
    },
    kernel::grace,
    problem::Problem,
};

/// A process that is forked while its forker is classified is found in the next round.
const MAX_ROUNDS: usize = 8;

impl Inner {
    /// Replaces the conditions. Afterwards every process has the bits of those that it or an ancestor has met, and new ones inherit
    /// them. Appends changes of processes that were read on the way.
    pub(super) fn follow(
        &self,
        state: &mut State,
        wanted: &FollowConditions,
        changes: &mut Vec<ProcessChange>,
    ) -> Result<(), Problem> {
        if state.followed.conditions == *wanted {
            return Ok(());
        }
        let Some(programs) = &state.processes else { return Err(failed(&"processes are not recorded")) };
        let maps = programs.follow_maps()?;
        let mut kept = state.followed.conditions.clone();
        kept.retain(|bit, condition| wanted.get(bit) == Some(condition));
        set_state(&maps, &kept, 0)?;
        write_keys(&maps, &state.followed.conditions, &kept)?;
        state.followed.conditions.clone_from(&kept);
        let new = bits(wanted) & !bits(&kept);
        if new == 0 {
            return Ok(());
        }
        let stale = new & state.followed.used;
        if stale != 0 {
            // A program that began before still sets them.
            grace::wait_for_programs().map_err(|error| failed(&error))?;
            set_state(&maps, &kept, stale)?;
            assign_all(programs, &maps, &[])?;
        }
        state.followed.conditions.clone_from(wanted);
        state.followed.used |= new;
        let activated = write_keys(&maps, &kept, wanted)
            .and_then(|()| set_state(&maps, wanted, 0))
            .and_then(|()| self.assign_followed(state, changes));
        if activated.is_err() {
            set_state(&maps, &kept, 0)?;
            write_keys(&maps, wanted, &kept)?;
            state.followed.conditions = kept;
        }
        activated
    }

    /// Gives the bits of the active conditions to processes that were listed again.
    pub(super) fn reassign_followed(&self, state: &State) {
        let Some(programs) = &state.processes else { return };
        let found = assignments(&state.index.processes, &state.followed.conditions);
        if !found.is_empty()
            && let Err(problem) = programs.follow_maps().and_then(|maps| assign_all(programs, &maps, &found))
        {
            tracing::warn!("{}", problem.message());
        }
    }

    /// Gives running processes the bits of the active conditions.
    pub(super) fn assign_followed(&self, state: &mut State, changes: &mut Vec<ProcessChange>) -> Result<(), Problem> {
        for _ in 0..MAX_ROUNDS {
            // Forks and execs that began with the maps as they were have their records in the ring then.
            grace::wait_for_programs().map_err(|error| failed(&error))?;
            let Some(ring) = state.processes.as_ref().map(|programs| programs.ring.clone()) else { return Ok(()) };
            changes.extend(drain_process_ring(state, &ring));
            let found = assignments(&state.index.processes, &state.followed.conditions);
            let Some(programs) = &state.processes else { return Ok(()) };
            if assign_all(programs, &programs.follow_maps()?, &found)? == 0 {
                return Ok(());
            }
        }
        tracing::warn!(
            "processes are forked faster than they are classified: some may lack followForks or followChildren"
        );
        Ok(())
    }
}

/// Returns how many processes were changed.
fn assign_all(programs: &AttachedPrograms, maps: &FollowMaps, all: &[Assignment]) -> Result<usize, Problem> {
    if all.is_empty() {
        return programs.assign_followed();
    }
    let mut changed = 0;
    for some in all.chunks(FOLLOW_ASSIGNMENTS as usize) {
        let key =
            |assignment: &Assignment| FollowProcess { ktime: assignment.key.ktime, pid: assignment.key.pid, pad: 0 };
        for assignment in some {
            let value = FollowBits { own: assignment.own, parent: assignment.parent };
            maps.assignments.set(&key(assignment), &value).map_err(|error| failed(&error))?;
        }
        let assigned = programs.assign_followed();
        for assignment in some {
            maps.assignments.delete(&key(assignment)).map_err(|error| failed(&error))?;
        }
        changed += assigned?;
    }
    Ok(changed)
}

fn set_state(maps: &FollowMaps, active: &FollowConditions, stale: u64) -> Result<(), Problem> {
    let state = FollowState { active: bits(active), namespaced: namespaced(active), stale };
    maps.state.set(&0_u32, &state).map_err(|error| failed(&error))
}

/// Writes the keys that changed.
fn write_keys(maps: &FollowMaps, before: &FollowConditions, wanted: &FollowConditions) -> Result<(), Problem> {
    let (before, wanted) = (FollowKeys::new(before), FollowKeys::new(wanted));
    let path_key = |names: &[u8]| {
        let mut key = FollowPath { names: [0; _] };
        key.names[..names.len()].copy_from_slice(names);
        key
    };
    let pid_key = |(pid, in_own_namespace): (u32, bool)| FollowPid { pid, in_own_namespace: in_own_namespace.into() };
    let gone = before.paths.keys().filter(|names| !wanted.paths.contains_key(*names));
    for names in gone {
        maps.paths.delete(&path_key(names)).map_err(|error| failed(&error))?;
    }
    for (names, bits) in wanted.paths.iter().filter(|(names, bits)| before.paths.get(*names) != Some(bits)) {
        maps.paths.set(&path_key(names), bits).map_err(|error| failed(&error))?;
    }
    for pid in before.pids.keys().filter(|pid| !wanted.pids.contains_key(pid)) {
        maps.pids.delete(&pid_key(*pid)).map_err(|error| failed(&error))?;
    }
    for (pid, bits) in wanted.pids.iter().filter(|(pid, bits)| before.pids.get(pid) != Some(bits)) {
        maps.pids.set(&pid_key(*pid), bits).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn failed(error: &dyn std::fmt::Display) -> Problem {
    Problem::LoadFailed { what: "following processes of policies".into(), detail: error.to_string() }
}
