//! Loads and attaches the programs that follow processes and cgroups, and reads their loss counters.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use libbpf_rs::ProgramMut;
use tokio::task::JoinHandle;
use trilobite_node_ebpf::{
    ARGS_HEAD_MAX, DropReason, PATH_DEPTH_MAX, PATH_DEPTH_OLD, SharedWord,
    skeleton::{
        cgroup::{CgroupSkel, CgroupSkelBuilder},
        process::{ProcessSkel, ProcessSkelBuilder},
    },
};

use super::decode::{self, Image};
use crate::{
    kernel::{Facts, Link, Map, Release, Ring, attach, grace, misses::recursion_misses, skeleton},
    problem::Problem,
};

/// Since this release the verifier checks the full depth of a path fast enough: 6.1 takes twice as long as for half of it.
const DEEP_SINCE: Release = Release { major: 6, minor: 12 };

/// Records that the kernel could not deliver since the programs were first loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelLosses {
    pub fork: u64,
    pub exec: u64,
    pub exit: u64,
    /// Cgroups that were made or removed.
    pub cgroup: u64,
    /// Processes for which the kernel's map had no room.
    pub map_full: u64,
    /// New cgroups for whose inherited selection the kernel's map had no room. The agent writes the selection when it reads
    /// the record, and counts the loss if there is still no room.
    pub cgroup_map_full: u64,
}

impl KernelLosses {
    /// The losses since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            fork: self.fork.saturating_sub(earlier.fork),
            exec: self.exec.saturating_sub(earlier.exec),
            exit: self.exit.saturating_sub(earlier.exit),
            cgroup: self.cgroup.saturating_sub(earlier.cgroup),
            map_full: self.map_full.saturating_sub(earlier.map_full),
            cgroup_map_full: self.cgroup_map_full.saturating_sub(earlier.cgroup_map_full),
        }
    }

    pub fn add(&mut self, more: &Self) {
        self.fork += more.fork;
        self.exec += more.exec;
        self.exit += more.exit;
        self.cgroup += more.cgroup;
        self.map_full += more.map_full;
        self.cgroup_map_full += more.cgroup_map_full;
    }

    /// The process cache may miss a process, or keep one that has ended.
    pub fn affect_processes(&self) -> bool {
        self.fork + self.exec + self.exit + self.map_full > 0
    }

    /// Lost records of every kind.
    pub fn records(&self) -> u64 {
        self.fork + self.exec + self.exit + self.cgroup
    }
}

/// Attached programs with their ring and the task that reads it.
pub(super) struct AttachedPrograms {
    // Dropped first: nothing writes any more when the ring is dropped.
    links: Vec<Link>,
    loaded: Loaded,
    generation: u32,
    pub(super) ring: Arc<Ring>,
    drops: Map,
    counted: KernelLosses,
    pub(super) reader: Option<JoinHandle<()>>,
}

/// The kernel's maps of conditions that processes inherit.
pub(super) struct FollowMaps {
    pub(super) state: Map,
    /// Bits of each file.
    pub(super) paths: Map,
    /// Bits of each process id.
    pub(super) pids: Map,
    /// Bits that running processes get.
    pub(super) assignments: Map,
}

enum Loaded {
    Cgroups(Box<CgroupSkel<'static>>),
    Processes(Box<ProcessSkel<'static>>),
}

impl AttachedPrograms {
    /// Losses since the last call.
    pub(super) fn new_losses(&mut self) -> KernelLosses {
        let now = self.losses();
        let new = now.since(&self.counted);
        self.counted = now;
        new
    }

    fn losses(&self) -> KernelLosses {
        let drops = |reason: DropReason| self.drops.sum(reason as u32);
        // The kernel skips a program that already runs on the same processor; only the kernel counts that.
        let count = |reason, program: &ProgramMut<'_>| drops(reason) + recursion_misses(program.as_fd());
        match &self.loaded {
            Loaded::Cgroups(skeleton) => KernelLosses {
                cgroup: count(DropReason::CgroupMkdir, &skeleton.progs.on_cgroup_mkdir)
                    + count(DropReason::CgroupRmdir, &skeleton.progs.on_cgroup_rmdir),
                cgroup_map_full: drops(DropReason::CgroupEntry),
                ..KernelLosses::default()
            },
            Loaded::Processes(skeleton) => KernelLosses {
                fork: count(DropReason::Fork, &skeleton.progs.on_fork),
                exec: count(DropReason::Exec, &skeleton.progs.on_exec),
                exit: count(DropReason::Exit, &skeleton.progs.on_exit),
                map_full: drops(DropReason::ProcessEntry),
                ..KernelLosses::default()
            },
        }
    }

    /// Runs the task iterator: one image for each running process.
    pub(super) fn list_tasks(&mut self) -> Result<Vec<Image>, Problem> {
        let written = attach::iterate(&self.processes()?.progs.list_tasks)?;
        decode::images(&written).ok_or_else(|| Problem::LoadFailed {
            what: "listing the processes that run".into(),
            detail: "a record of the list is not whole".into(),
        })
    }

    pub(super) fn process_map(&self) -> Result<Map, Problem> {
        Map::from_object(&self.processes()?.maps.processes)
    }

    pub(super) fn follow_maps(&self) -> Result<FollowMaps, Problem> {
        let maps = &self.processes()?.maps;
        Ok(FollowMaps {
            state: Map::from_object(&maps.follow_state)?,
            paths: Map::from_object(&maps.followed_paths)?,
            pids: Map::from_object(&maps.followed_pids)?,
            assignments: Map::from_object(&maps.follow_assignments)?,
        })
    }

    /// Changes the conditions of running processes as the maps say; returns how many processes it changed.
    pub(super) fn assign_followed(&self) -> Result<usize, Problem> {
        Ok(attach::iterate(&self.processes()?.progs.assign_followed)?.len())
    }

    /// From now on these programs write records, and the older ones with which they share their maps do not.
    pub(super) fn activate(&self) -> Result<(), Problem> {
        let state = Map::from_object(&self.processes()?.maps.shared_state)?;
        state.set(&(SharedWord::ActiveGeneration as u32), &self.generation).map_err(|error| Problem::LoadFailed {
            what: "handing over to programs with another ring".into(),
            detail: error.to_string(),
        })
    }

    fn processes(&self) -> Result<&ProcessSkel<'static>, Problem> {
        match &self.loaded {
            Loaded::Processes(skeleton) => Ok(skeleton),
            Loaded::Cgroups(_) => Err(Problem::LoadFailed {
                what: "reading processes".into(),
                detail: "these programs follow cgroups".into(),
            }),
        }
    }

    /// Detaches the programs and waits until none runs: after that nothing is written to the ring or counted as lost.
    pub(super) fn detach(&mut self) {
        self.links.clear();
        if let Err(error) = grace::wait_for_programs() {
            tracing::warn!(%error, "detached programs may still run: their last records are not read");
        }
    }
}

impl Drop for AttachedPrograms {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}

/// Attaches the programs that follow cgroups; `map` is the shared map of cgroups.
pub(super) fn attach_cgroup_programs(facts: &Facts, map: BorrowedFd<'_>) -> Result<AttachedPrograms, Problem> {
    let mut open = skeleton::open("cgroup", CgroupSkelBuilder::default())?;
    let constants = skeleton::constants(open.maps.rodata_data.as_deref_mut())?;
    constants.node_cgroup = facts.node_cgroup.unwrap_or(0);
    constants.node_cgroup_level = facts.node_cgroup_level;
    skeleton::reuse(&mut open.maps.cgroups, map)?;
    let loaded = skeleton::load("cgroup", open)?;
    let programs = [&loaded.progs.on_cgroup_mkdir, &loaded.progs.on_cgroup_rmdir];
    Ok(AttachedPrograms {
        ring: Arc::new(Ring::new(Map::from_object(&loaded.maps.cgroup_ring)?)?),
        drops: Map::from_object(&loaded.maps.drops)?,
        links: programs.into_iter().map(attach::by_section).collect::<Result<_, _>>()?,
        loaded: Loaded::Cgroups(Box::new(loaded)),
        generation: 0,
        counted: KernelLosses::default(),
        reader: None,
    })
}

/// Attaches the programs that follow processes. They share the maps of an `older` set, and write nothing until activated.
pub(super) fn attach_process_programs(
    facts: &Facts,
    ring_bytes: u32,
    older: Option<&AttachedPrograms>,
) -> Result<AttachedPrograms, Problem> {
    let generation = older.map_or(0, |older| older.generation.wrapping_add(1));
    let mut open = skeleton::open("process", ProcessSkelBuilder::default())?;
    let constants = skeleton::constants(open.maps.rodata_data.as_deref_mut())?;
    constants.node_cgroup = facts.node_cgroup.unwrap_or(0);
    constants.node_cgroup_level = facts.node_cgroup_level;
    constants.args_head_max = ARGS_HEAD_MAX.min(ring_bytes / 4);
    constants.generation = generation;
    constants.path_depth = if facts.release < DEEP_SINCE { PATH_DEPTH_OLD } else { PATH_DEPTH_MAX };
    skeleton::resize(&mut open.maps.process_ring, ring_bytes)?;
    if let Some(older) = older {
        let shared = &older.processes()?.maps;
        skeleton::reuse(&mut open.maps.processes, shared.processes.as_fd())?;
        skeleton::reuse(&mut open.maps.shared_state, shared.shared_state.as_fd())?;
        skeleton::reuse(&mut open.maps.follow_state, shared.follow_state.as_fd())?;
        skeleton::reuse(&mut open.maps.followed_paths, shared.followed_paths.as_fd())?;
        skeleton::reuse(&mut open.maps.followed_pids, shared.followed_pids.as_fd())?;
        skeleton::reuse(&mut open.maps.follow_assignments, shared.follow_assignments.as_fd())?;
    }
    let loaded = skeleton::load("process", open)?;
    // The exit program first: each process that the others add to the map is then removed again.
    let programs = [&loaded.progs.on_exit, &loaded.progs.on_exec, &loaded.progs.on_fork];
    Ok(AttachedPrograms {
        ring: Arc::new(Ring::new(Map::from_object(&loaded.maps.process_ring)?)?),
        drops: Map::from_object(&loaded.maps.drops)?,
        links: programs.into_iter().map(attach::by_section).collect::<Result<_, _>>()?,
        loaded: Loaded::Processes(Box::new(loaded)),
        generation,
        counted: KernelLosses::default(),
        reader: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_cgroup_map_affects_no_process() {
        let affected = |losses: KernelLosses| losses.affect_processes();
        assert!(!affected(KernelLosses { cgroup_map_full: 1, ..KernelLosses::default() }));
        assert!(affected(KernelLosses { map_full: 1, ..KernelLosses::default() }));
        assert_ne!(DropReason::CgroupEntry, DropReason::ProcessEntry);
    }
}
