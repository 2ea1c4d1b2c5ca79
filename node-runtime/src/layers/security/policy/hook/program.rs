//! The program of a hook: loaded with its constants and maps, attached by the first way that the kernel accepts.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use trilobite_node_ebpf::{HOOK_LEVELS, HookAction, HookHits, action_flag};
use zerocopy::IntoBytes;

use super::{
    class_rows::ClassRows,
    layout::{AgentProcess, UnreadableFact, hook_layout},
    tables::{HookTables, TableError, TableMaps, TableSizes},
};
use crate::{
    identity::SelectionMaps,
    kernel::{Facts, Link, Loaded, Map, Opened, Table, attach, misses::recursion_misses, pid_namespace},
    plan::policy::{
        AttachMethod, AttachPoint, HookPlan,
        dimension::{DimensionKind, DimensionTable},
        hook_plan::{ActionPlan, RateLimitScope, SelectorPlan},
        kernel_view::Kernel,
    },
    problem::Problem,
};

/// Rate limits of a hook's selectors that are remembered: by thread or process.
const LIMITS: u32 = 4096;
/// Calls of one function that may be waiting for their return.
const KEPT_ARGS: u32 = 8192;
const KEEPS_ARGS: &str = "on_kept_kprobe";
const RETURNS: &str = "on_kretprobe";
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
}

/// What loading a hook depends on.
#[derive(Clone, Copy)]
pub(in crate::layers::security) struct HookContext<'a> {
    pub(in crate::layers::security) facts: &'a Facts,
    pub(in crate::layers::security) kernel: &'a dyn Kernel,
    pub(in crate::layers::security) selection: &'a SelectionMaps,
    pub(in crate::layers::security) shared: &'a SharedMaps,
}

/// An attached program with its maps. Dropping it detaches and unloads it.
pub(in crate::layers::security) struct HookProgram {
    pub(in crate::layers::security) hook_id: u32,
    links: Vec<Link>,
    program: Option<OwnedFd>,
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
        })
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
        let name = program_of(way);
        let mut opened = Opened::open("hook", trilobite_node_ebpf::hook(words as u32))?;
        opened.only(if way == AttachMethod::Kretprobe { &[KEEPS_ARGS, RETURNS] } else { std::slice::from_ref(&name) });
        let agent = AgentProcess { pid: std::process::id(), namespace: pid_namespace::own().unwrap_or_default() };
        let args = match way {
            AttachMethod::Fexit => context.kernel.function(plan.point.name()).map(|it| it.parameters.len() as u8),
            _ => None,
        };
        let layout = hook_layout(plan, way, hook_id, args, agent).map_err(|UnreadableFact(fact)| {
            Problem::Unsupported { field: String::new(), detail: format!("{fact} is not read yet") }
        })?;
        opened.set("layout", layout)?;
        opened.set("node_cgroup", context.facts.node_cgroup.unwrap_or(0))?;
        opened.set("node_cgroup_level", context.facts.node_cgroup_level)?;
        if matches!(way, AttachMethod::TpBtf | AttachMethod::Fentry | AttachMethod::Fexit) {
            opened.target(name, plan.point.name())?;
        }
        for (map, fd) in [
            ("cgroups", context.selection.cgroups.as_fd()),
            ("policy_ring", context.shared.policy_ring.fd()),
            ("enforcement_ring", context.shared.enforcement_ring.fd()),
            ("drops", context.shared.drops.fd()),
            ("hook_scratch", context.shared.scratch.fd()),
            ("binary_names", context.shared.binary_names.fd()),
            ("binary_affixes", context.shared.binary_affixes.fd()),
        ] {
            opened.reuse(map, fd)?;
        }
        let has_limits = plan.selectors.iter().any(|selector| hook_action(selector, 0).limit_ns > 0);
        for (map, entries) in [
            ("bounds", sizes.rows),
            ("rows", sizes.rows),
            ("substrings", sizes.substrings),
            ("strings", sizes.strings),
            ("prefixes", sizes.prefixes),
            ("limits", if has_limits { LIMITS } else { 1 }),
            ("kept_args", if way == AttachMethod::Kretprobe { KEPT_ARGS } else { 1 }),
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
        tables.write(&kinds(plan), &plan.tables).map_err(|error| match error {
            TableError::Refused(problem) => problem,
            TableError::Full => {
                Problem::LoadFailed { what: format!("tables of {}", plan.point), detail: "they do not fit".into() }
            }
        })?;
        let class_rows = Arc::new(ClassRows::new(&loaded.map("class_rows")?, words)?);
        let (actions, hits) = (loaded.map("actions")?, Arc::new(loaded.map("hits")?));
        write_actions(&actions, &hits, plan, &plan.selectors)?;
        let links = attach_all(way, &loaded, name, plan)?;
        Ok(Self {
            hook_id,
            program: links.first().and_then(Link::program),
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
        self.tables.write(&kinds(plan), tables)?;
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
        let total = self.program.as_ref().map_or(0, |program| recursion_misses(program.as_fd()));
        total.saturating_sub(self.counted_misses.swap(total, Ordering::Relaxed))
    }

    /// The counters of all selectors.
    pub(in crate::layers::security) fn hits_map(&self) -> Arc<Map> {
        self.hits.clone()
    }

    /// The counters of a selector.
    pub(in crate::layers::security) fn hits(&self, bit: u16) -> HookHits {
        self.hits.get(&u32::from(bit)).ok().flatten().unwrap_or_default()
    }
}

/// The program for a way to attach: the one that makes records.
fn program_of(way: AttachMethod) -> &'static str {
    match way {
        AttachMethod::TpBtf => "on_tracing",
        AttachMethod::RawTp => "on_raw_tracepoint",
        AttachMethod::ClassicTp => "on_tracepoint",
        AttachMethod::Fentry => "on_function_entry",
        AttachMethod::Fexit => "on_function_return",
        AttachMethod::KprobeMulti => "on_kprobe_multi",
        AttachMethod::Kprobe => "on_kprobe",
        AttachMethod::Kretprobe => RETURNS,
    }
}

/// The return first: a call that is kept before there is a program for its return would stay.
fn attach_all(way: AttachMethod, loaded: &Loaded, name: &str, plan: &HookPlan) -> Result<Vec<Link>, Problem> {
    if way != AttachMethod::Kretprobe {
        return Ok(vec![attach_by(way, loaded, name, plan)?]);
    }
    let function = plan.point.name();
    let returns = attach::to_kretprobe(&loaded.program(RETURNS)?, function)?;
    Ok(vec![returns, attach::to_kprobe(&loaded.program(KEEPS_ARGS)?, function)?])
}

fn attach_by(way: AttachMethod, loaded: &Loaded, name: &str, plan: &HookPlan) -> Result<Link, Problem> {
    let program = loaded.program(name)?;
    match (way, &plan.point) {
        (AttachMethod::RawTp, point) => attach::to_raw_tracepoint(&program, point.name()),
        (AttachMethod::ClassicTp, AttachPoint::Tracepoint { subsystem, event }) => {
            attach::to_tracepoint(&program, subsystem, event)
        }
        (AttachMethod::Kprobe, point) => attach::to_kprobe(&program, point.name()),
        (AttachMethod::KprobeMulti, point) => {
            let functions: Vec<String> =
                [point.name().to_owned()].into_iter().chain(plan.further_functions.iter().cloned()).collect();
            attach::to_kprobe_multi(&program, &functions)
        }
        _ => attach::by_section(&program),
    }
}

fn kinds(plan: &HookPlan) -> Vec<DimensionKind> {
    plan.dimensions.iter().map(|dimension| dimension.kind).collect()
}

/// Writes what selectors do when they win, and sets their counters to 0.
fn write_actions(actions: &Map, hits: &Map, plan: &HookPlan, selectors: &[SelectorPlan]) -> Result<(), Problem> {
    let (actions, hits) = (Table::map(actions)?, Table::map(hits)?);
    for selector in selectors {
        let action = hook_action(selector, entry_mask(plan, selector));
        actions.write_bytes(selector.bit.into(), action.as_bytes());
        hits.write_bytes(selector.bit.into(), HookHits::default().as_bytes());
    }
    Ok(())
}

/// The bits of a selector's entry in its word: the lowest that matches wins.
fn entry_mask(plan: &HookPlan, selector: &SelectorPlan) -> u64 {
    plan.entries.get(usize::from(selector.entry)).map_or(0, |entry| entry.mask)
}

fn hook_action(selector: &SelectorPlan, entry_mask: u64) -> HookAction {
    let mut action =
        HookAction { policy: selector.policy.0, selector: selector.bit, entry_mask, ..HookAction::default() };
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
            ActionPlan::Signal { .. }
            | ActionPlan::NoPost
            | ActionPlan::TrackSock { .. }
            | ActionPlan::UntrackSock { .. } => {}
        }
    }
    action
}
