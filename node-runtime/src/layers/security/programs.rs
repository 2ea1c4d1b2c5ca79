//! Programs of a policy's hooks: each is loaded with its own constants, and attached to one tracepoint.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use trilobite_crds::node::TracepointHook;
use trilobite_node_ebpf::{ArgKind, DropReason, HookSpec};

use super::args::ArgReader;
use crate::{
    kernel::{Facts, Link, Loaded, Map, Opened, Ring, attach, misses::recursion_misses, pid_namespace},
    problem::Problem,
};

const CLASSIC: &str = "on_tracepoint";
const RAW: &str = "on_raw_tracepoint";

/// What the records of a hook carry, and the pods that it selects.
#[derive(Clone, Copy, Debug)]
pub(super) struct HookIdentity {
    /// Bit of the selector.
    pub(super) selector: u64,
    /// Number of the loaded policy.
    pub(super) source: u32,
    /// Generation of the resource.
    pub(super) generation: u32,
    /// Index of the hook within its policy.
    pub(super) number: u32,
}

/// Maps that hooks share.
pub(super) struct SharedMaps<'a> {
    /// Identity's map of cgroups.
    pub(super) cgroups: BorrowedFd<'a>,
    /// The ring of policies; none for the first hook, which makes it.
    pub(super) ring: Option<&'a Map>,
    /// Size of the ring that the first hook makes.
    pub(super) ring_bytes: u32,
}

/// A hook whose program is in the kernel and not attached yet.
pub(super) struct LoadedHook {
    loaded: Loaded,
    drops: Map,
}

/// An attached hook. Dropping it detaches and unloads its program.
pub(super) struct AttachedHook {
    link: Option<Link>,
    program: Option<OwnedFd>,
    drops: Map,
    counted: AtomicU64,
}

impl LoadedHook {
    /// Loads the program of a hook; returns the ring as well if it had to be made.
    pub(super) fn load(
        hook: &TracepointHook,
        readers: &[ArgReader],
        identity: HookIdentity,
        maps: &SharedMaps<'_>,
        facts: &Facts,
    ) -> Result<(Self, Option<(Map, Ring)>), Problem> {
        let mut opened = Opened::open("tracepoint", trilobite_node_ebpf::tracepoint())?;
        opened.only(&[if hook.raw { RAW } else { CLASSIC }]);
        opened.set("hook", hook_spec(identity, readers))?;
        opened.set("node_cgroup", facts.node_cgroup.unwrap_or(0))?;
        opened.set("node_cgroup_level", facts.node_cgroup_level)?;
        opened.reuse("cgroups", maps.cgroups)?;
        match maps.ring {
            Some(ring) => opened.reuse("policy_ring", ring.fd())?,
            None => opened.resize("policy_ring", maps.ring_bytes)?,
        }
        let loaded = opened.load()?;
        let ring = match maps.ring {
            Some(_) => None,
            None => Some((loaded.map("policy_ring")?, Ring::new(loaded.map("policy_ring")?)?)),
        };
        let drops = loaded.map("drops")?;
        Ok((Self { loaded, drops }, ring))
    }

    pub(super) fn attach(self, hook: &TracepointHook) -> Result<AttachedHook, Problem> {
        let link = if hook.raw {
            attach::to_raw_tracepoint(&self.loaded.program(RAW)?, &hook.event)?
        } else {
            attach::to_tracepoint(&self.loaded.program(CLASSIC)?, &hook.subsystem, &hook.event)?
        };
        Ok(AttachedHook { program: link.program(), link: Some(link), drops: self.drops, counted: AtomicU64::new(0) })
    }
}

impl AttachedHook {
    /// Detaches the program, which may still be running: its last records come after a grace period.
    pub(super) fn detach(&mut self) {
        self.link = None;
    }

    /// Losses since the last call: records without room in the ring, and calls that the kernel skipped.
    pub(super) fn new_losses(&self) -> u64 {
        let total = self.drops.sum(DropReason::Tracepoint as u32)
            + self.program.as_ref().map_or(0, |program| recursion_misses(program.as_fd()));
        total.saturating_sub(self.counted.swap(total, Ordering::Relaxed))
    }
}

fn hook_spec(identity: HookIdentity, readers: &[ArgReader]) -> HookSpec {
    let text = [ArgKind::Pointer, ArgKind::Inline, ArgKind::DataLoc, ArgKind::RelLoc].map(|kind| kind as u32);
    let strings = readers.iter().filter(|reader| text.contains(&reader.spec.kind)).count();
    let mut spec = HookSpec {
        selector: identity.selector,
        source: identity.source,
        generation: identity.generation,
        hook: identity.number,
        strings: u32::try_from(strings).unwrap_or_default(),
        agent: std::process::id(),
        // 0 matches no namespace: then the agent's own events are reported like all others.
        agent_namespace: pid_namespace::own().unwrap_or_default(),
        ..HookSpec::default()
    };
    for (arg, reader) in spec.args.iter_mut().zip(readers) {
        *arg = reader.spec;
    }
    spec
}
