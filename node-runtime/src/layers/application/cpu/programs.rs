//! The kernel's part of a CPU profile: one program, one perf event for each processor, one ring.

use std::{
    os::fd::BorrowedFd,
    thread,
    time::{Duration, Instant},
};

use trilobite_node_ebpf::{
    DropReason, SCOPES_MAX,
    skeleton::cpu::{CpuSkel, CpuSkelBuilder},
};

use crate::{
    kernel::{Link, Map, perf, pid_namespace, skeleton},
    problem::Problem,
};

/// Limit of the time over which the starts of the clocks are spread: the agent, which has one thread, waits for it.
const PHASES_MAX: Duration = Duration::from_millis(20);

/// What is sampled.
#[derive(Clone, Copy, Debug, Default)]
pub struct SamplerSpec<'a> {
    /// Samples a second on each processor.
    pub frequency_hz: u32,
    /// Size of the ring, a power of two.
    pub ring_bytes: u32,
    /// The scope's id, and the maps of cgroups and classes; none samples every process of the node.
    pub selection: Option<(u32, BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// The cgroup above the node's pods and its depth; zeros if the whole machine is the node.
    pub node_cgroup: (u64, u32),
    /// Generation of the AppProfile.
    pub generation: u32,
}

/// Loaded and attached programs. Dropping it unloads them.
pub struct Sampler {
    links: Vec<Link>,
    ring: Map,
    seen: Map,
    drops: Map,
    // Dropped last, after the links: no perf event fires into a program that is being unloaded.
    _loaded: Box<CpuSkel<'static>>,
}

impl Sampler {
    /// Loads and attaches. If the kernel refuses any of it, nothing stays loaded.
    pub fn start(spec: &SamplerSpec<'_>) -> Result<Self, Problem> {
        let mut open = skeleton::open("cpu", CpuSkelBuilder::default())?;
        let constants = skeleton::constants(open.maps.rodata_data.as_deref_mut())?;
        (constants.node_cgroup, constants.node_cgroup_level) = spec.node_cgroup;
        constants.proc_namespace = pid_namespace::nested().unwrap_or_default();
        constants.unit_generation = spec.generation;
        constants.scope = spec.selection.map_or(SCOPES_MAX, |(scope, ..)| scope);
        skeleton::reuse_or_shrink(&mut open.maps.cgroups, spec.selection.map(|(_, cgroups, _)| cgroups))?;
        skeleton::reuse_or_shrink(&mut open.maps.classes, spec.selection.map(|(.., classes)| classes))?;
        skeleton::resize(&mut open.maps.samples, spec.ring_bytes)?;
        let loaded = skeleton::load("cpu", open)?;
        let mut links = Vec::new();
        let cpus = perf::online();
        let begun = Instant::now();
        for (at, cpu) in cpus.iter().copied().enumerate() {
            thread::sleep(phase(at, cpus.len(), spec.frequency_hz).saturating_sub(begun.elapsed()));
            links.push(perf::attach_cpu_clock(&loaded.progs.on_tick, cpu, spec.frequency_hz)?);
        }
        Ok(Self {
            links,
            ring: Map::from_object(&loaded.maps.samples)?,
            seen: Map::from_object(&loaded.maps.samples_seen)?,
            drops: Map::from_object(&loaded.maps.drops)?,
            _loaded: Box::new(loaded),
        })
    }

    /// Detaches from the perf events. Samples in the ring stay readable.
    pub fn stop(&mut self) {
        self.links.clear();
    }

    /// The ring, for a worker.
    pub fn ring(&self) -> BorrowedFd<'_> {
        self.ring.fd()
    }

    /// Samples that were meant for the ring so far, and those of them for which the ring was full.
    pub fn counts(&self) -> (u64, u64) {
        (self.seen.sum(0), self.drops.sum(DropReason::Sample as u32))
    }
}

/// How much later than the first the clock of a processor starts. Clocks that start together tick together for as long as the
/// profile lasts, and all processors would wait for the one ring at the same moment.
fn phase(at: usize, processors: usize, frequency_hz: u32) -> Duration {
    let period = Duration::from_secs(1) / frequency_hz.max(1);
    period.min(PHASES_MAX).mul_f64(at as f64 / processors.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_the_processors_are_spread_over_a_period() {
        let phases: Vec<Duration> = (0..64).map(|at| phase(at, 64, 499)).collect();
        assert_eq!((phases[0].as_micros(), phases[32].as_micros()), (0, 1002));
        assert!(phases.is_sorted() && phases[63] < Duration::from_secs(1) / 499);
    }

    #[test]
    fn slow_clocks_do_not_delay_the_agent() {
        assert!(phase(63, 64, 1) < PHASES_MAX);
    }
}
