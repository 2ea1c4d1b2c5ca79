//! Reads identity's rings into the index, counts what was lost in the kernel, and looks up again what the losses affect.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use trilobite_node_ebpf::ProcessEntry;

use super::state::{Inner, State};
use crate::{
    identity::{
        ExecKey, ProcessChange,
        cgroup::filesystem::list_cgroups,
        decode,
        process::{
            notify_listeners,
            procfs::{mark_unnamed, same_image},
            record_change,
        },
    },
    kernel::{Map, Ring, clock},
};

/// How often loss counters are read.
const TICK: Duration = Duration::from_secs(1);

impl Inner {
    /// Adds processes that the task iterator found to the cache: as an earlier agent has seen them, else with names from /proc.
    pub(super) fn add_tasks(&self, state: &mut State, mut tasks: Vec<decode::Image>, process_map: &Map) {
        let running: HashSet<ExecKey> = tasks.iter().map(|image| image.process.key).collect();
        let known = std::mem::take(&mut state.known_processes).resolve(&mut tasks);
        let has_known = !known.is_empty();
        known.into_iter().for_each(|process| state.index.processes.record_known(process));
        if has_known {
            // Among them are parents that have ended.
            state.index.processes.retain_living(&running, clock::boot_ns());
        }
        tasks.retain(|image| state.index.processes.get(image.process.key).is_none());
        // Parents first: they began before their children.
        tasks.sort_by_key(|image| image.process.key);
        let mut named = tasks.clone();
        for image in &mut named {
            self.proc.fill_names(image);
            state.index.processes.lease_arguments(image);
        }
        // The map is read after all names: an exec shows the new image in /proc a moment before it is in the map.
        for (unnamed, named) in tasks.into_iter().zip(named) {
            let key = unnamed.process.key;
            let entry: Option<ProcessEntry> = process_map.get(&key.pid).ok().flatten();
            let image = if same_image(entry.as_ref(), key) {
                named
            } else {
                let mut image = unnamed;
                mark_unnamed(&mut image);
                image
            };
            state.index.processes.record_listed(image);
        }
        let absent: Vec<ExecKey> = state.index.processes.absent_parents().collect();
        for image in absent.into_iter().filter_map(|key| self.proc.read_outsider(key)) {
            state.index.processes.record_outsider(image, clock::boot_ns());
        }
    }

    /// Lists the processes again after records of some were lost.
    pub(super) fn relist_processes(&self, state: &mut State) {
        let before = clock::boot_ns();
        let Some(programs) = &mut state.processes else { return };
        match programs.list_tasks().and_then(|tasks| Ok((tasks, programs.process_map()?))) {
            Ok((tasks, process_map)) => {
                let living: HashSet<ExecKey> = tasks.iter().map(|image| image.process.key).collect();
                state.index.processes.retain_living(&living, before);
                self.add_tasks(state, tasks, &process_map);
                self.reassign_followed(state);
            }
            Err(problem) => tracing::warn!(problem = problem.message(), "processes could not be listed again"),
        }
    }

    pub(super) fn read_cgroup_ring(self: &Arc<Self>, ring: &Ring) {
        let mut state = self.state();
        self.apply_cgroup_records(&mut state, ring);
        self.publish(&mut state);
    }

    /// Applies the records of cgroups that are in the ring now. False if there was none.
    pub(super) fn apply_cgroup_records(&self, state: &mut State, ring: &Ring) -> bool {
        let (mut any, mut scan_needed) = (false, false);
        ring.drain(&mut |bytes| {
            any = true;
            match decode::cgroup(bytes) {
                Some(change) => scan_needed |= !state.index.apply_cgroup_change(&change),
                // Whatever it was about, the scan sees.
                None => scan_needed = true,
            }
        });
        if scan_needed {
            state.index.set_cgroups(&list_cgroups(&self.cgroup_dir));
        }
        any
    }

    pub(super) fn read_process_ring(self: &Arc<Self>, ring: &Ring) {
        drop(self.apply_process_records(|each| ring.drain(each)));
    }

    /// Applies the records that `drain` passes, all under one lock, and then notifies the listeners.
    pub(super) fn apply_process_records(&self, drain: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Vec<ProcessChange> {
        let (changes, listeners) = {
            let mut state = self.state();
            let mut changes = Vec::new();
            state.index.processes.set_read_time(clock::boot_ns());
            let State { index, argument_pieces, .. } = &mut *state;
            drain(&mut |bytes| record_change(&mut index.processes, argument_pieces, bytes, &mut changes));
            (changes, state.listeners())
        };
        notify_listeners(&listeners, &changes);
        changes
    }

    fn tick(self: &Arc<Self>) {
        let mut state = self.state();
        let ring = state.cgroups.as_ref().map(|programs| programs.ring.clone());
        let has_records = ring.is_some_and(|ring| self.apply_cgroup_records(&mut state, &ring));
        let new = self.count_losses(&mut state);
        if new.cgroup > 0 {
            state.index.set_cgroups(&list_cgroups(&self.cgroup_dir));
        }
        if new.cgroup > 0 || has_records {
            self.publish(&mut state);
        }
        state.class_writer.tick();
        if state.class_writer.is_incomplete() {
            self.sync_classes(&mut state);
        }
        if new.affect_processes() {
            self.relist_processes(&mut state);
        }
        state.index.processes.expire(clock::boot_ns());
    }
}

/// Reads every record that is in the ring now.
pub(super) fn drain_process_ring(state: &mut State, ring: &Ring) -> Vec<ProcessChange> {
    let mut changes = Vec::new();
    state.index.processes.set_read_time(clock::boot_ns());
    let State { index, argument_pieces, .. } = state;
    ring.drain_all(&mut |bytes| record_change(&mut index.processes, argument_pieces, bytes, &mut changes));
    changes
}

/// Reads a ring until the service or the ring's owner is dropped.
pub(super) async fn read_ring(inner: Weak<Inner>, ring: Arc<Ring>, read: fn(&Arc<Inner>, &Ring)) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let ticked = tokio::select! {
            readable = ring.readable() => match readable {
                Ok(()) => false,
                Err(error) => return tracing::error!(%error, "identity's ring cannot be polled"),
            },
            _ = ticks.tick() => true,
        };
        let throttle = inner.upgrade().and_then(|inner| inner.throttle.get().cloned());
        if let Some(throttle) = throttle.filter(|_| !ticked) {
            ring.wait_until_half_full(throttle()).await;
        }
        let Some(inner) = inner.upgrade() else { return };
        if ticked {
            inner.tick();
        } else {
            read(&inner, &ring);
        }
    }
}
