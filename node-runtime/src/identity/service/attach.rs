//! Attaches identity's programs for their first user and detaches them after the last.

use std::{os::fd::AsFd, sync::Arc};

use super::{
    rings::{drain_process_ring, read_ring},
    state::{Inner, State},
};
use crate::{
    identity::{
        ProcessChange,
        cgroup::{
            filesystem::list_cgroups,
            kernel_map::{create_cgroup_map, create_class_map},
        },
        classes::SelectionKernelMaps,
        programs::{attach_cgroup_programs, attach_process_programs},
    },
    problem::Problem,
};

impl Inner {
    /// One more user of the cgroups; the first one attaches the programs.
    pub(super) fn acquire_cgroups(self: &Arc<Self>, state: &mut State) -> Result<(), Problem> {
        if state.users == 0 {
            let (cgroups, classes) = (create_cgroup_map(&self.facts)?, create_class_map(&self.facts)?);
            let mut programs = attach_cgroup_programs(&self.facts, cgroups.fd().as_fd())?;
            let reader = read_ring(Arc::downgrade(self), programs.ring.clone(), Self::read_cgroup_ring);
            programs.reader = Some(tokio::spawn(reader));
            state.index.set_cgroups(&list_cgroups(&self.cgroup_dir));
            state.selection_maps = Some(Arc::new(SelectionKernelMaps { cgroups, classes }));
            state.cgroups = Some(programs);
        }
        state.users += 1;
        Ok(())
    }

    pub(super) fn release_cgroups(&self, state: &mut State) {
        state.users = state.users.saturating_sub(1);
        if state.users == 0 {
            self.count_losses(state);
            state.cgroups = None;
            state.selection_maps = None;
            state.class_writer.forget_maps();
        }
    }

    /// Attaches the process programs, beside those that are attached already; returns the last changes of the old ones.
    pub(super) fn attach_processes(
        self: &Arc<Self>,
        state: &mut State,
        ring_bytes: u32,
    ) -> Result<Vec<ProcessChange>, Problem> {
        let mut programs = attach_process_programs(&self.facts, ring_bytes, state.processes.as_ref())?;
        if state.processes.is_some() {
            programs.activate()?;
        } else {
            let (tasks, process_map) = (programs.list_tasks()?, programs.process_map()?);
            self.add_tasks(state, tasks, &process_map);
        }
        let reader = read_ring(Arc::downgrade(self), programs.ring.clone(), Self::read_process_ring);
        programs.reader = Some(tokio::spawn(reader));
        state.ring_bytes = ring_bytes;
        let Some(mut old) = state.processes.replace(programs) else { return Ok(Vec::new()) };
        // The reader of the new ring waits for our lock, so that the older records are applied first.
        old.detach();
        let changes = drain_process_ring(state, &old.ring);
        let lost = old.new_losses();
        self.record_losses(state, &lost);
        if lost.affect_processes() {
            self.relist_processes(state);
        }
        Ok(changes)
    }

    pub(super) fn release_scope(&self, id: u32) {
        let mut state = self.state();
        state.index.release_scope(id);
        self.publish(&mut state);
        self.release_cgroups(&mut state);
    }

    pub(super) fn release_processes(&self, listener: u64) {
        let mut state = self.state();
        state.listeners.remove(&listener);
        state.process_users = state.process_users.saturating_sub(1);
        if state.process_users == 0 {
            self.count_losses(&mut state);
            state.known_processes = self.known_processes(&state, u64::MAX);
            state.processes = None;
            state.ring_bytes = 0;
            state.followed = Default::default();
            state.index.processes = Default::default();
        }
        self.release_cgroups(&mut state);
    }
}
