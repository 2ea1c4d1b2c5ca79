//! The program of a hook: loaded with its constants and maps, attached by the first way that the kernel accepts.

use std::{
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use trilobite_node_ebpf::{HOOK_LEVELS, HookAction, HookHits, action_flag};
use zerocopy::IntoBytes;

use super::{
    class_rows::ClassRows,
    layout::{AgentProcess, hook_layout},
    tables::{HookTables, TableError, TableMaps, TableSizes},
};
use crate::{
    identity::SelectionMaps,
    kernel::{
        Facts, Link, Loaded, Map, Opened, Table,
        attach::{self, FunctionEnd},
        clock,
        misses::recursion_misses,
        pid_namespace,
    },
    plan::policy::{
        AttachMethod, AttachPoint, HookPlan,
        dimension::DimensionTable,
        hook_plan::{ActionPlan, RateLimitScope, SelectorPlan},
        kernel_view::Kernel,
    },
    problem::Problem,
};

/// Rate limits of a hook's selectors that are remembered: by thread or process.
const LIMITS: u32 = 4096;
/// Calls of a hook that may be waiting for their return, each with 8 KiB.
const KEPT_CALLS: u32 = 4096;
/// Sockets with which policies note processes.
const TRACKED_SOCKETS: u32 = 16_384;
/// The word of `HookHits::lost`.
const LOST_WORD: usize = offset_of!(HookHits, lost) / size_of::<u64>();
/// The flag of each scope of a rate limit.
const FLAG_OF_SCOPE: [(RateLimitScope, u32); 3] = [
    (RateLimitScope::Thread, action_flag::LIMIT_THREAD),
    (RateLimitScope::Process, action_flag::LIMIT_PROCESS),
    (RateLimitScope::Global, action_flag::LIMIT_GLOBAL),
];

/// Maps of all hooks together.
pub(in crate::layers::security) struct SharedMaps {
    pub(in crate::layers::security) policy_ring: Map,
    pub(in crate::layers::security) enforcement_ring: Map,
    pub(in crate::layers::security) drops: Map,
    scratch: Map,
    pub(in crate::layers::security) binary_names: Map,
    pub(in crate::layers::security) binary_affixes: Map,
    tracked_sockets: OnceLock<Map>,
}

/// What loading a hook depends on.
#[derive(Clone, Copy)]
pub(in crate::layers::security) struct HookContext<'a> {
    pub(in crate::layers::security) facts: &'a Facts,
    pub(in crate::layers::security) kernel: &'a dyn Kernel,
    pub(in crate::layers::security) selection: &'a SelectionMaps,
    /// The kernel's map of processes.
    pub(in crate::layers::security) processes: BorrowedFd<'a>,
    pub(in crate::layers::security) shared: &'a SharedMaps,
}

/// An attached program with its maps. Dropping it detaches and unloads it.
pub(in crate::layers::security) struct HookProgram {
    pub(in crate::layers::security) hook_id: u32,
    links: Vec<Link>,
    programs: Vec<OwnedFd>,
    tables: HookTables,
    pub(in crate::layers::security) class_rows: Arc<ClassRows>,
    actions: Map,
    hits: Arc<Map>,
    counted_misses: AtomicU64,
}

impl SharedMaps {
    /// `ring_bytes` is the size of the ring of posts.
    pub(in crate::layers::security) fn new(ring_bytes: u32) -> Result<Self, Problem> {
        let opened = Opened::open("hook", trilobite_node_ebpf::hook(1))?;
        let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1) as u32;
        let new = |name: &str, entries: u32| opened.create_map(name, entries);
        Ok(Self {
            policy_ring: new("policy_ring", ring_bytes)?,
            enforcement_ring: new("enforcement_ring", 64 * 1024)?,
            drops: new("drops", 0)?,
            scratch: new("hook_scratch", HOOK_LEVELS * cpus)?,
            binary_names: new("binary_names", 1 << 16)?,
            binary_affixes: new("binary_affixes", 1 << 16)?,
            tracked_sockets: OnceLock::new(),
        })
    }

    /// Made for the first policy that notes processes with sockets.
    fn tracked_sockets(&self, opened: &Opened) -> Result<&Map, Problem> {
        if let Some(map) = self.tracked_sockets.get() {
            return Ok(map);
        }
        let map = opened.create_map("tracked_sockets", TRACKED_SOCKETS)?;
        Ok(self.tracked_sockets.get_or_init(|| map))
    }
}

impl HookProgram {
    /// Loads a program with all tables of the plan, and attaches it. No selector is active yet.
    pub(in crate::layers::security) fn load(
        hook_id: u32,
        plan: &HookPlan,
        context: &HookContext<'_>,
    ) -> Result<Self, Problem> {
        let mut refused = None;
        for way in &plan.attachment.ways {
            match Self::load_by(*way, hook_id, plan, context) {
                Ok(program) => return Ok(program),
                Err(problem) => {
                    tracing::debug!(hook = %plan.point, %way, reason = %problem.reason(), "{}", problem.message());
                    refused = Some(problem);
                }
            }
        }
        Err(refused.unwrap_or_else(|| Problem::LoadFailed {
            what: format!("attaching to {}", plan.point),
            detail: "no way to attach is known".into(),
        }))
    }

    fn load_by(way: AttachMethod, hook_id: u32, plan: &HookPlan, context: &HookContext<'_>) -> Result<Self, Problem> {
        let words = plan.width.words();
        let sizes = TableSizes::of_tables(&plan.tables);
        let programs = Programs::for_way(way, plan.point.has_return());
        let mut opened = Opened::open("hook", trilobite_node_ebpf::hook(words as u32))?;
        opened.only(&programs.names().collect::<Vec<_>>());
        let agent = AgentProcess { pid: std::process::id(), namespace: pid_namespace::own().unwrap_or_default() };
        let args = match way {
            AttachMethod::Fexit => context.kernel.function(plan.point.name()).map(|it| it.parameters.len() as u8),
            _ => None,
        };
        opened.set("layout", hook_layout(plan, way, hook_id, args, agent))?;
        opened.set("node_cgroup", context.facts.node_cgroup.unwrap_or(0))?;
        opened.set("node_cgroup_level", context.facts.node_cgroup_level)?;
        if matches!(way, AttachMethod::TpBtf | AttachMethod::Fentry | AttachMethod::Fexit) {
            for name in programs.names() {
                opened.target(name, plan.point.name())?;
            }
        }
        for (map, fd) in [
            ("cgroups", context.selection.cgroups.as_fd()),
            ("processes", context.processes),
            ("policy_ring", context.shared.policy_ring.fd()),
            ("enforcement_ring", context.shared.enforcement_ring.fd()),
            ("drops", context.shared.drops.fd()),
            ("hook_scratch", context.shared.scratch.fd()),
            ("binary_names", context.shared.binary_names.fd()),
            ("binary_affixes", context.shared.binary_affixes.fd()),
        ] {
            opened.reuse(map, fd)?;
        }
        if plan.parts.sockets {
            let map = context.shared.tracked_sockets(&opened)?.fd();
            opened.reuse("tracked_sockets", map)?;
        }
        for (map, entries) in [
            ("bounds", sizes.rows),
            ("rows", sizes.rows),
            ("substrings", sizes.substrings),
            ("strings", sizes.strings),
            ("prefixes", sizes.prefixes),
            ("limits", if plan.parts.rate_limits { LIMITS } else { 1 }),
            ("kept_calls", if plan.point.has_return() { KEPT_CALLS } else { 1 }),
        ] {
            opened.resize(map, entries)?;
        }
        let loaded = opened.load()?;
        let maps = TableMaps {
            dimension_tables: loaded.map("dimension_tables")?,
            dimension_masks: loaded.map("dimension_masks")?,
            bounds: loaded.map("bounds")?,
            rows: loaded.map("rows")?,
            substrings: loaded.map("substrings")?,
            strings: loaded.map("strings")?,
            prefixes: loaded.map("prefixes")?,
        };
        let mut tables = HookTables::new(maps, words, sizes);
        tables.write(&plan.tables).map_err(|error| match error {
            TableError::Refused(problem) => problem,
            TableError::Full => {
                Problem::LoadFailed { what: format!("tables of {}", plan.point), detail: "they do not fit".into() }
            }
        })?;
        let class_rows = Arc::new(ClassRows::new(&loaded.map("class_rows")?, words)?);
        let (actions, hits) = (loaded.map("actions")?, Arc::new(loaded.map("hits")?));
        write_actions(&actions, &hits, plan, &plan.selectors)?;
        let links = attach_all(way, &loaded, &programs, plan)?;
        Ok(Self {
            hook_id,
            // The links of one program, then those of the other.
            programs: [links.first(), programs.keeps.and(links.last())]
                .into_iter()
                .flatten()
                .filter_map(Link::program)
                .collect(),
            links,
            tables,
            class_rows,
            actions,
            hits,
            counted_misses: AtomicU64::new(0),
        })
    }

    /// Writes tables in which old and new selectors have their meaning, and what the new ones do.
    pub(in crate::layers::security) fn write_tables(
        &mut self,
        plan: &HookPlan,
        tables: &[DimensionTable],
        new_bits: &[u16],
    ) -> Result<(), TableError> {
        self.tables.write(tables)?;
        let new: Vec<SelectorPlan> =
            plan.selectors.iter().filter(|selector| new_bits.contains(&selector.bit)).cloned().collect();
        write_actions(&self.actions, &self.hits, plan, &new).map_err(TableError::Refused)
    }

    /// Frees what the last write replaced: a grace period has passed.
    pub(in crate::layers::security) fn release_retired(&mut self) {
        self.tables.release_retired();
    }

    /// Detaches the program, which may still be running: its last records come after a grace period.
    pub(in crate::layers::security) fn detach(&mut self) {
        self.links.clear();
    }

    /// Calls that the kernel skipped since the last call of this function.
    pub(in crate::layers::security) fn new_misses(&self) -> u64 {
        let total = self.programs.iter().map(|program| recursion_misses(program.as_fd())).sum::<u64>();
        total.saturating_sub(self.counted_misses.swap(total, Ordering::Relaxed))
    }

    /// The counters of all selectors.
    pub(in crate::layers::security) fn hits_map(&self) -> Arc<Map> {
        self.hits.clone()
    }

    /// Records that had no room in a ring, by the bit of their selector. None where the counters cannot be read.
    pub(in crate::layers::security) fn lost_records(&self) -> Option<impl Fn(u16) -> u64> {
        // One mapping in place of a system call for each selector, a thousand at times.
        let hits = Table::map(&self.hits).inspect_err(|problem| tracing::warn!("{}", problem.message())).ok()?;
        Some(move |bit: u16| hits.load(bit.into(), LOST_WORD))
    }
}

/// The programs of a hook.
#[derive(Clone, Copy)]
struct Programs {
    /// Makes records.
    records: &'static str,
    /// Keeps calls at their entry, where records are made at the return.
    keeps: Option<&'static str>,
}

impl Programs {
    fn for_way(way: AttachMethod, has_return: bool) -> Self {
        let (records, keeps) = match way {
            AttachMethod::TpBtf => ("on_tracing", None),
            AttachMethod::RawTp => ("on_raw_tracepoint", None),
            AttachMethod::ClassicTp => ("on_tracepoint", None),
            AttachMethod::Fentry => ("on_function_entry", None),
            AttachMethod::Fexit => ("on_function_return", Some("on_kept_function_entry")),
            AttachMethod::KprobeMulti if has_return => ("on_kretprobe_multi", Some("on_kept_kprobe_multi")),
            AttachMethod::KprobeMulti => ("on_kprobe_multi", None),
            AttachMethod::Kprobe => ("on_kprobe", None),
            AttachMethod::Kretprobe => ("on_kretprobe", Some("on_kept_kprobe")),
        };
        Self { records, keeps }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.records), self.keeps].into_iter().flatten()
    }
}

/// The return first: a call that is kept before there is a program for its return would stay.
fn attach_all(way: AttachMethod, loaded: &Loaded, programs: &Programs, plan: &HookPlan) -> Result<Vec<Link>, Problem> {
    let ends =
        if plan.point.has_return() { [FunctionEnd::Return, FunctionEnd::Entry] } else { [FunctionEnd::Entry; 2] };
    let functions: Vec<&str> = plan.functions().collect();
    let mut links = Vec::new();
    for (name, end) in programs.names().zip(ends) {
        let program = loaded.program(name)?;
        match (way, &plan.point) {
            (AttachMethod::RawTp, point) => links.push(attach::to_raw_tracepoint(&program, point.name())?),
            (AttachMethod::ClassicTp, AttachPoint::Tracepoint { subsystem, event }) => {
                links.push(attach::to_tracepoint(&program, subsystem, event)?);
            }
            (AttachMethod::Kprobe | AttachMethod::Kretprobe, _) => {
                for (cookie, function) in (1..).zip(&functions) {
                    let cookie = if functions.len() > 1 { cookie } else { 0 };
                    links.push(attach::to_kprobe(&program, end, function, cookie)?);
                }
            }
            (AttachMethod::KprobeMulti, _) => links.push(attach::to_kprobe_multi(&program, end, &functions)?),
            _ => links.push(attach::by_section(&program)?),
        }
    }
    Ok(links)
}

/// Writes what selectors do when they win, and sets their counters to 0.
fn write_actions(actions: &Map, hits: &Map, plan: &HookPlan, selectors: &[SelectorPlan]) -> Result<(), Problem> {
    let (actions, hits) = (Table::map(actions)?, Table::map(hits)?);
    let now = clock::boot_ns();
    for selector in selectors {
        let action = hook_action(plan, selector, now);
        actions.write_bytes(selector.bit.into(), action.as_bytes());
        hits.write_bytes(selector.bit.into(), HookHits::default().as_bytes());
    }
    Ok(())
}

/// What the kernel does when a selector wins. `now` is of the boot clock.
fn hook_action(plan: &HookPlan, selector: &SelectorPlan, now: u64) -> HookAction {
    let entry = plan.entry_of(selector);
    let one_based = |value: Option<u8>| value.map_or(0, |value| value + 1);
    let tracker = entry.and_then(|entry| entry.tracker);
    let mut action = HookAction {
        policy: selector.policy.0,
        selector: selector.bit,
        // The bits of the selector's entry in its word: the lowest that matches wins.
        entry_mask: entry.map_or(0, |entry| entry.mask),
        since: now,
        tracker: tracker.unwrap_or_default(),
        socket: one_based(entry.filter(|_| tracker.is_some()).and_then(|entry| plan.socket_of(entry))),
        ..HookAction::default()
    };
    let posts = !selector.actions.iter().any(|action| matches!(action, ActionPlan::NoPost));
    if posts {
        action.flags |= action_flag::POST;
    }
    for planned in &selector.actions {
        match planned {
            ActionPlan::Post { rate_limit_ns, scope, kernel_stack, user_stack } => {
                action.limit_ns = *rate_limit_ns;
                let flag = FLAG_OF_SCOPE.iter().find(|(known, _)| known == scope).map_or(0, |(_, flag)| *flag);
                action.flags |= flag;
                action.flags |= if *kernel_stack { action_flag::KERNEL_STACK } else { 0 };
                action.flags |= if *user_stack { action_flag::USER_STACK } else { 0 };
            }
            ActionPlan::Signal { number, is_monitored: false } => {
                action.flags |= action_flag::SIGNAL;
                action.signal = (*number).into();
            }
            ActionPlan::TrackSock { value } => {
                action.flags |= action_flag::TRACK_SOCKET;
                action.noted_socket = one_based(Some(*value));
            }
            ActionPlan::UntrackSock { value } => {
                action.flags |= action_flag::UNTRACK_SOCKET;
                action.noted_socket = one_based(Some(*value));
            }
            ActionPlan::Signal { .. } | ActionPlan::NoPost => {}
        }
    }
    action
}
