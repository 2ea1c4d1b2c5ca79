//! What the records of hooks mean, by the number that they carry.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use trilobite_crds::{
    node::PolicyPart,
    policy::{ActionKind, Hook, PolicyMode},
};

use crate::{
    layers::security::{
        deliver::EventConsumer,
        event::{Action, HookInfo, HookPoint, SelectorInfo},
    },
    plan::policy::{
        AttachPoint, HookPlan, PolicyId,
        hook_plan::{ActionPlan, HookEntry, SelectorPlan},
    },
};

/// Hooks by number. Those that were detached stay until their last record is read.
#[derive(Clone, Default)]
pub(super) struct HookRegistry(Arc<Mutex<HashMap<u32, Registered>>>);

#[derive(Clone)]
struct Registered {
    info: Arc<HookInfo>,
    /// Boot clock. Records from then on are those of the program that took over.
    until: u64,
    /// Boot clock. Older records are those of the program before, or of selectors that are not all active.
    from: u64,
}

/// A policy, as events name it.
#[derive(Clone)]
pub(super) struct PolicyNames {
    pub(super) policy: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) part: Arc<PolicyPart>,
    pub(super) consumer: Arc<EventConsumer>,
}

impl HookRegistry {
    /// Registers a hook, or other selectors of one.
    pub(super) fn insert(&self, hook_id: u32, info: HookInfo) {
        let mut hooks = self.0.lock();
        match hooks.get_mut(&hook_id) {
            Some(registered) => registered.info = Arc::new(info),
            None => drop(hooks.insert(hook_id, Registered { info: Arc::new(info), until: u64::MAX, from: u64::MAX })),
        }
    }

    /// Records of this hook count from `time` on.
    pub(super) fn begin(&self, hook_id: u32, time: u64) {
        if let Some(hook) = self.0.lock().get_mut(&hook_id) {
            hook.from = time;
        }
    }

    /// Records of this hook count until `time`.
    pub(super) fn end(&self, hook_id: u32, time: u64) {
        if let Some(hook) = self.0.lock().get_mut(&hook_id) {
            hook.until = time;
        }
    }

    pub(super) fn remove(&self, hook_id: u32) {
        self.0.lock().remove(&hook_id);
    }

    /// What the records of a hook mean now.
    pub(super) fn info(&self, hook_id: u32) -> Option<Arc<HookInfo>> {
        self.0.lock().get(&hook_id).map(|hook| hook.info.clone())
    }

    /// None for a hook that is not registered; `Some(None)` for a record of another program's time.
    pub(super) fn find(&self, hook_id: u32, time: u64) -> Option<Option<Arc<HookInfo>>> {
        let hook = self.0.lock().get(&hook_id).cloned()?;
        Some((hook.from..hook.until).contains(&time).then_some(hook.info))
    }
}

/// What the records of a plan's program mean; `further` is a plan whose selectors are still in it. Selectors that `known`, an
/// earlier answer for the same program, has are taken from there: they keep their meaning.
pub(super) fn hook_info(
    plan: &HookPlan,
    further: Option<&HookPlan>,
    names: &BTreeMap<PolicyId, PolicyNames>,
    known: Option<&HookInfo>,
) -> HookInfo {
    let point = |name: &str| {
        Arc::new(match &plan.point {
            AttachPoint::RawTracepoint { event } => {
                HookPoint::Tracepoint { subsystem: subsystem(plan, names).into(), event: event.as_str().into() }
            }
            AttachPoint::Tracepoint { subsystem, event } => {
                HookPoint::Tracepoint { subsystem: subsystem.as_str().into(), event: event.as_str().into() }
            }
            AttachPoint::FunctionEntry { .. } | AttachPoint::FunctionReturn { .. } => {
                HookPoint::Function { name: name.into() }
            }
        })
    };
    let first = plan.point.name();
    let functions = match plan.further_functions.as_slice() {
        [] => Vec::new(),
        further => [first].into_iter().chain(further.iter().map(String::as_str)).map(point).collect(),
    };
    let mut selectors = HashMap::new();
    for plan in further.into_iter().chain([plan]) {
        for selector in &plan.selectors {
            let key = (selector.policy.0, selector.bit);
            if let Some(info) = known.and_then(|known| known.selectors.get(&key)) {
                selectors.insert(key, info.clone());
                continue;
            }
            let entry = plan.entries.get(usize::from(selector.entry));
            if let (Some(entry), Some(names)) = (entry, names.get(&selector.policy)) {
                selectors.insert(key, Arc::new(selector_info(entry, selector, names)));
            }
        }
    }
    HookInfo { point: point(first), functions, values: plan.values.iter().map(|value| value.kind).collect(), selectors }
}

/// The subsystem of a raw tracepoint is only a name: what the first policy says.
fn subsystem(plan: &HookPlan, names: &BTreeMap<PolicyId, PolicyNames>) -> String {
    let said = plan.entries.iter().find_map(|entry| {
        let number = entry.field.strip_prefix("spec.tracepoints[")?.split(']').next()?.parse::<usize>().ok()?;
        let tracepoint = names.get(&entry.policy)?.part.spec.tracepoints.get(number)?;
        Some(tracepoint.subsystem.clone())
    });
    said.unwrap_or_default()
}

fn selector_info(entry: &HookEntry, selector: &SelectorPlan, names: &PolicyNames) -> SelectorInfo {
    let is_signal = |action: &ActionPlan| matches!(action, ActionPlan::Signal { is_monitored: false, .. });
    SelectorInfo {
        signals: selector.actions.iter().any(is_signal),
        entry_action: entry_action(entry, selector, names),
        scope: selector.scope.workload.is_some().then(|| selector.scope.clone()),
        policy: names.policy.clone(),
        policy_namespace: names.namespace.clone(),
        message: entry.message.clone().unwrap_or_default(),
        tags: entry.tags.clone(),
        args: entry.args.clone().into(),
        data: entry.data.clone().into(),
        returned: entry.returned.clone(),
        consumers: [names.consumer.clone()].into(),
    }
}

/// What `matchActions` do at the entry of a function whose events are made at the return. The event does not say which selector won
/// at the entry: it is the one that wins at the return, or one before it.
fn entry_action(entry: &HookEntry, selector: &SelectorPlan, names: &PolicyNames) -> Action {
    let spec = &names.part.spec;
    let hook = spec.hooks().find(|(field, _)| *field == entry.field);
    let Some((_, Hook::Kprobe(function) | Hook::Fentry(function))) = hook else { return Action::Post };
    let is_enforced = spec.mode() != PolicyMode::Monitor;
    let actions = function.selectors.get(usize::from(selector.selector)).map(|selector| &selector.match_actions);
    let kinds = || actions.into_iter().flatten().filter_map(|action| action.action.known());
    let has = |wanted: ActionKind| kinds().any(|kind| kind == wanted);
    match () {
        () if !function.r#return => Action::Post,
        () if is_enforced && has(ActionKind::Sigkill) => Action::Sigkill,
        () if is_enforced && has(ActionKind::Signal) => Action::Signal,
        () if has(ActionKind::TrackSock) => Action::TrackSock,
        () if has(ActionKind::UntrackSock) => Action::UntrackSock,
        () => Action::Post,
    }
}
