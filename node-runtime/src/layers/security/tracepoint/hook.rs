//! One hook of a policy: its program, loaded with its own constants and attached.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use trilobite_crds::node::TracepointHook;
use trilobite_node_ebpf::tracepoint::{ArgKind, HookSpec};

use super::{
    args::{self, Reading},
    format,
};
use crate::{
    kernel::{Facts, Link, Loaded, Map, Opened, Ring, btf, misses::recursion_misses, pid_namespace},
    report::Problem,
};

const CLASSIC: &str = "on_tracepoint";
const RAW: &str = "on_raw_tracepoint";
/// Where tracefs is mounted, the newer place first.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Who and where a hook is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Bit of the selection.
    pub slot: u64,
    /// The unit's number.
    pub source: u32,
    /// Of the resource.
    pub generation: u32,
    /// Which of the policy's.
    pub number: u32,
}

/// What all hooks share.
pub struct Maps<'a> {
    /// Identity's map of cgroups.
    pub cgroups: BorrowedFd<'a>,
    /// The policies' ring; none for the first hook, which makes it.
    pub ring: Option<&'a Map>,
    /// Its size then.
    pub ring_bytes: u32,
}

/// A hook whose program the kernel has taken, and which nothing calls yet.
pub struct Ready {
    loaded: Loaded,
    lost: Map,
}

/// A hook in force. Dropping it detaches and unloads it.
pub struct Hook {
    link: Option<Link>,
    program: Option<OwnedFd>,
    lost: Map,
    counted: AtomicU64,
}

impl Ready {
    /// Loads the program that reads these; gives the ring as well where there was none.
    pub fn load(
        hook: &TracepointHook,
        readings: &[Reading],
        place: Place,
        maps: &Maps<'_>,
        facts: &Facts,
    ) -> Result<(Self, Option<(Map, Ring)>), Problem> {
        let mut opened = Opened::open("tracepoint", trilobite_node_ebpf::tracepoint())?;
        opened.only(&[if hook.raw { RAW } else { CLASSIC }]);
        opened.set("hook", constants(place, readings))?;
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
            None => Some((loaded.map("policy_ring")?, loaded.ring("policy_ring")?)),
        };
        let lost = loaded.map("hook_lost")?;
        Ok((Self { loaded, lost }, ring))
    }

    /// From now on it is called.
    pub fn attach(mut self, hook: &TracepointHook) -> Result<Hook, Problem> {
        let link = if hook.raw {
            self.loaded.attach_raw_tracepoint(RAW, &hook.event)?
        } else {
            self.loaded.attach_tracepoint(CLASSIC, &hook.subsystem, &hook.event)?
        };
        Ok(Hook { program: link.program(), link: Some(link), lost: self.lost, counted: AtomicU64::new(0) })
    }
}

impl Hook {
    /// Takes it off its tracepoint. Its program may still run: whoever wants the last of it waits for that.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Records that found no room, or that nobody was called for, since this was asked last.
    pub fn new_losses(&self) -> u64 {
        let value = self.lost.get(&0_u32.to_ne_bytes()).ok().flatten();
        let Some(total) = value.and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes) else { return 0 };
        let total = total + self.program.as_ref().map_or(0, |program| recursion_misses(program.as_fd()));
        total.saturating_sub(self.counted.swap(total, Ordering::Relaxed))
    }
}

fn constants(place: Place, readings: &[Reading]) -> HookSpec {
    let text = [ArgKind::Pointer, ArgKind::Inline, ArgKind::DataLoc, ArgKind::RelLoc].map(|kind| kind as u32);
    let strings = readings.iter().filter(|reading| text.contains(&reading.spec.kind)).count();
    let mut spec = HookSpec {
        slot: place.slot,
        source: place.source,
        generation: place.generation,
        hook: place.number,
        strings: u32::try_from(strings).unwrap_or_default(),
        agent: std::process::id(),
        // 0 is none, and then the agent is told of as everybody is.
        agent_namespace: pid_namespace::own().unwrap_or_default(),
        ..HookSpec::default()
    };
    for (arg, reading) in spec.args.iter_mut().zip(readings) {
        *arg = reading.spec;
    }
    spec
}

/// How the arguments of a hook are read on this kernel.
pub fn readings(hook: &TracepointHook, kernel: &btf::Kernel) -> Result<Vec<Reading>, Problem> {
    let missing = || Problem::NoSuchTracepoint {
        name: format!("{}/{}", hook.subsystem, hook.event),
        field: format!("{}.event", hook.field_path),
    };
    if hook.raw {
        let of_module = |module: String| Problem::Unsupported {
            field: format!("{}.raw", hook.field_path),
            detail: format!("{} is of module {module}, whose types are not read yet; use the classic one", hook.event),
        };
        let refused = || btf::module_of(&hook.event).map_or_else(missing, of_module);
        return args::raw(hook, &kernel.raw_tracepoint(&hook.event).ok_or_else(refused)?);
    }
    let events = tracefs()?.join("events");
    let path = events.join(&hook.subsystem).join(&hook.event).join("format");
    match fs::read_to_string(&path) {
        Ok(format) => args::classic(hook, &format::fields(&format)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// A directory that is there without `events` in it is where tracefs is not mounted.
fn tracefs() -> Result<PathBuf, Problem> {
    let mut refusal = None;
    for root in TRACEFS.map(Path::new) {
        match fs::read_dir(root.join("events")) {
            Ok(_) => return Ok(root.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refusal = Some(unreadable(&root.join("events"), &error)),
        }
    }
    Err(refusal.unwrap_or_else(|| Problem::LoadFailed {
        what: format!("reading {}", TRACEFS[0]),
        detail: "tracefs is not mounted there; mount it, or use raw: true, which does not need it".into(),
    }))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::LoadFailed {
        what: format!("reading {}", path.display()),
        detail: format!("{error}; raw: true does not need it"),
    }
}
