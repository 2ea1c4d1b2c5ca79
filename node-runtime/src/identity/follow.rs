//! Identity's programs while somebody needs them: loaded, attached, and their rings.

use std::{os::fd::BorrowedFd, sync::Arc};

use tokio::task::JoinHandle;
use trilobite_node_ebpf::{
    limits::{ARGS_MAX, CWD_DEPTH_MAX, CWD_DEPTH_OLD},
    process::{LOSS_CGROUPS_FULL, LOSS_MAP_FULL, TURN_GENERATION},
    record::RecordKind,
};

use super::decode::{self, Image};
use crate::{
    kernel::{Facts, Link, Loaded, Map, Opened, Release, Ring, grace},
    report::Problem,
};

/// Since this release the verifier follows a directory to its full depth soon enough: 6.1 takes twice as long as for half of it.
const DEEP_SINCE: Release = Release { major: 6, minor: 12 };

/// Records that did not get out of the kernel, since the programs were first loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Forks.
    pub fork: u64,
    /// Execs.
    pub exec: u64,
    /// Exits.
    pub exit: u64,
    /// Cgroups that came or went.
    pub cgroup: u64,
    /// Processes for which the kernel's map had no room.
    pub map_full: u64,
    /// New cgroups for whose inherited selection the kernel's map had no room. Their records come all the same, and the agent
    /// writes it then; what finds no room then either is entered there.
    pub cgroup_map_full: u64,
}

impl Losses {
    fn read(losses: &Map, programs: &Loaded) -> Self {
        // A program that the kernel did not call, for it was running there already, counts nothing itself.
        let of = |kind: RecordKind, program: &str| losses.sum(kind as u32) + programs.misses(program);
        Self {
            fork: of(RecordKind::Fork, "on_fork"),
            exec: of(RecordKind::Exec, "on_exec"),
            exit: of(RecordKind::Exit, "on_exit"),
            cgroup: of(RecordKind::CgroupMkdir, "on_cgroup_mkdir") + of(RecordKind::CgroupRmdir, "on_cgroup_rmdir"),
            map_full: losses.sum(LOSS_MAP_FULL),
            cgroup_map_full: losses.sum(LOSS_CGROUPS_FULL),
        }
    }

    /// What came since an earlier reading.
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

    /// Adds another reading.
    pub fn add(&mut self, more: &Self) {
        self.fork += more.fork;
        self.exec += more.exec;
        self.exit += more.exit;
        self.cgroup += more.cgroup;
        self.map_full += more.map_full;
        self.cgroup_map_full += more.cgroup_map_full;
    }

    /// The table of processes may have one too many, or one too few.
    pub fn hide_processes(&self) -> bool {
        self.fork + self.exec + self.exit + self.map_full > 0
    }

    /// Records of any kind.
    pub fn records(&self) -> u64 {
        self.fork + self.exec + self.exit + self.cgroup
    }
}

/// Programs in force, their ring and its reader.
pub(super) struct Follow {
    // Links go first: nothing is written any more when the ring goes.
    links: Vec<Link>,
    loaded: Loaded,
    generation: u32,
    pub(super) ring: Arc<Ring>,
    losses: Map,
    counted: Losses,
    pub(super) task: Option<JoinHandle<()>>,
}

impl Follow {
    /// Losses since this was asked last.
    pub(super) fn new_losses(&mut self) -> Losses {
        let now = Losses::read(&self.losses, &self.loaded);
        let new = now.since(&self.counted);
        self.counted = now;
        new
    }

    /// Who is there now.
    pub(super) fn tasks(&mut self) -> Result<Vec<Image>, Problem> {
        decode::images(&self.loaded.iterate("list_tasks")?).ok_or_else(|| Problem::LoadFailed {
            what: "listing the processes that run".into(),
            detail: "a record of the list is not whole".into(),
        })
    }

    /// The kernel's map of processes.
    pub(super) fn known(&self) -> Result<Map, Problem> {
        self.loaded.map("processes")
    }

    /// From now on these programs write, and the older ones that they share their maps with do not.
    pub(super) fn take_turn(&self) -> Result<(), Problem> {
        let turn = self.loaded.map("process_turn")?;
        turn.set(&TURN_GENERATION.to_ne_bytes(), &self.generation.to_ne_bytes()).map_err(|error| Problem::LoadFailed {
            what: "handing over to programs with another ring".into(),
            detail: error.to_string(),
        })
    }

    /// Detaches, and waits for whoever still runs: from then on nothing is written into the ring or counted as lost.
    pub(super) fn detach(&mut self) {
        self.links.clear();
        if let Err(error) = grace::wait_for_programs() {
            tracing::warn!(%error, "programs that left may still write: what they do is not read");
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Programs that follow cgroups, writing into the shared map.
pub(super) fn cgroups(facts: &Facts, map: BorrowedFd<'_>) -> Result<Follow, Problem> {
    let mut opened = Opened::open("cgroup", trilobite_node_ebpf::cgroup())?;
    on_this_node(&mut opened, facts)?;
    opened.reuse("cgroups", map)?;
    attach(opened.load()?, &["on_cgroup_mkdir", "on_cgroup_rmdir"], "cgroup_ring")
}

/// Programs that follow processes. Beside an older version they share its maps, and do nothing until they take their turn.
pub(super) fn processes(facts: &Facts, ring_bytes: u32, older: Option<&Follow>) -> Result<Follow, Problem> {
    let generation = older.map_or(0, |older| older.generation.wrapping_add(1));
    let mut opened = Opened::open("process", trilobite_node_ebpf::process())?;
    on_this_node(&mut opened, facts)?;
    opened.set("args_max", if ring_bytes < 4 * ARGS_MAX { ring_bytes / 4 } else { ARGS_MAX })?;
    opened.resize("process_ring", ring_bytes)?;
    opened.set("generation", generation)?;
    opened.set("cwd_depth", if facts.release < DEEP_SINCE { CWD_DEPTH_OLD } else { CWD_DEPTH_MAX })?;
    if let Some(older) = older {
        for map in ["processes", "process_turn"] {
            opened.reuse(map, older.loaded.map(map)?.fd())?;
        }
    }
    // The exit first: whoever is entered by the others is taken out again.
    let mut follow = attach(opened.load()?, &["on_exit", "on_exec", "on_fork"], "process_ring")?;
    follow.generation = generation;
    Ok(follow)
}

fn on_this_node(opened: &mut Opened, facts: &Facts) -> Result<(), Problem> {
    opened.set("node_cgroup", facts.node_cgroup.unwrap_or(0))?;
    opened.set("node_cgroup_level", facts.node_cgroup_level)
}

fn attach(mut loaded: Loaded, programs: &[&str], ring: &str) -> Result<Follow, Problem> {
    let ring = Arc::new(loaded.ring(ring)?);
    let losses = loaded.map("losses")?;
    let links = programs.iter().map(|program| loaded.attach(program)).collect::<Result<_, _>>()?;
    Ok(Follow { links, loaded, generation: 0, ring, losses, counted: Losses::default(), task: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_of_cgroups_hides_no_process() {
        let hidden = |losses: Losses| losses.hide_processes();
        assert!(!hidden(Losses { cgroup_map_full: 1, ..Losses::default() }));
        assert!(hidden(Losses { map_full: 1, ..Losses::default() }));
        assert_ne!(LOSS_CGROUPS_FULL, LOSS_MAP_FULL);
    }
}
