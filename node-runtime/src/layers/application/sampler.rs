//! The kernel's part of a CPU profile: one program, one clock for each processor, one ring. Dropping it leaves nothing.

use std::os::fd::BorrowedFd;

use trilobite_node_ebpf::{limits::SAMPLE_RING_MIN, sample::SampleCount};

use crate::{
    kernel::{Link, Loaded, Map, Opened, perf, pid_namespace},
    report::Problem,
};

/// Bytes of the largest ring of samples.
const SAMPLE_RING_MAX: u64 = 4 << 20;
/// Share of a budget that is the ring's.
const RING_SHARE: u64 = 16;

/// What is sampled.
#[derive(Clone, Copy, Debug, Default)]
pub struct SamplerSpec<'a> {
    /// Samples a second on each processor.
    pub frequency_hz: u32,
    /// Size of the ring: see `ring_bytes`.
    pub ring_bytes: u32,
    /// Bit of the selection and the map it is in; none samples every process of the node.
    pub selection: Option<(u64, BorrowedFd<'a>)>,
    /// The cgroup above the node's pods and its depth; zeros where the whole machine is the node.
    pub node_cgroup: (u64, u32),
    /// Generation of the resource that asked.
    pub generation: u32,
}

/// Sampling, until it is dropped.
pub struct Sampler {
    links: Vec<Link>,
    ring: Map,
    counts: Map,
    // Dropped last: links first, so that nothing ticks into a program that is leaving.
    _loaded: Loaded,
}

impl Sampler {
    /// Loads and attaches; nothing stays if any of it is refused.
    pub fn start(spec: &SamplerSpec<'_>) -> Result<Self, Problem> {
        let mut opened = Opened::open("cpu", trilobite_node_ebpf::cpu())?;
        if let Some((slot, cgroups)) = spec.selection {
            opened.set("slot", slot)?;
            opened.reuse("cgroups", cgroups)?;
        } else {
            // Never looked at: the smallest that the kernel makes.
            opened.resize("cgroups", 1)?;
        }
        opened.set("node_cgroup", spec.node_cgroup.0)?;
        opened.set("node_cgroup_level", spec.node_cgroup.1)?;
        opened.set("proc_namespace", pid_namespace::nested().unwrap_or_default())?;
        opened.set("unit_generation", spec.generation)?;
        opened.resize("samples", spec.ring_bytes)?;
        let mut loaded = opened.load()?;
        let mut links = Vec::new();
        for cpu in perf::online() {
            links.push(loaded.attach_perf("on_tick", perf::cpu_clock(cpu, spec.frequency_hz)?)?);
        }
        let (ring, counts) = (loaded.map("samples")?, loaded.map("counts")?);
        Ok(Self { links, ring, counts, _loaded: loaded })
    }

    /// No tick from now on; what is in the ring stays readable.
    pub fn stop(&mut self) {
        self.links.clear();
    }

    /// The ring, to hand to a worker.
    pub fn ring(&self) -> BorrowedFd<'_> {
        self.ring.fd()
    }

    /// Samples that were meant for the ring so far, and those of them that found it full.
    pub fn counts(&self) -> (u64, u64) {
        (self.count(SampleCount::Seen), self.count(SampleCount::Lost))
    }

    fn count(&self, which: SampleCount) -> u64 {
        let value = self.counts.get(&(which as u32).to_ne_bytes()).ok().flatten().unwrap_or_default();
        value.try_into().map_or(0, u64::from_ne_bytes)
    }
}

/// The ring's part of a budget: a power of two, as the kernel wants it.
pub fn ring_bytes(budget_bytes: u64) -> u32 {
    let share = (budget_bytes / RING_SHARE).clamp(SAMPLE_RING_MIN.into(), SAMPLE_RING_MAX);
    // In the range of the clamp, whose ends are powers of two.
    1 << share.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_a_power_of_two_inside_its_limits() {
        assert_eq!(ring_bytes(32 << 20), 2 << 20);
        assert_eq!(ring_bytes(33 << 20), 2 << 20);
        assert_eq!(ring_bytes(1 << 20), 64 << 10);
        assert_eq!(ring_bytes(u64::MAX), 4 << 20);
    }
}
