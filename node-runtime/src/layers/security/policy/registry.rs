//! What the records of hooks mean, by the number that they carry.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use trilobite_crds::node::PolicyPart;

use crate::{
    layers::security::{
        deliver::EventConsumer,
        event::{HookInfo, HookPoint, SelectorInfo},
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

    /// None for a hook that is not registered; `Some(None)` for a record of another program's time.
    pub(super) fn find(&self, hook_id: u32, time: u64) -> Option<Option<Arc<HookInfo>>> {
        let hook = self.0.lock().get(&hook_id).cloned()?;
        Some((hook.from..hook.until).contains(&time).then_some(hook.info))
    }
}

/// What the records of a plan's program mean; `further` are plans whose selectors are still, or already, in it.
pub(super) fn hook_info(
    plan: &HookPlan,
    further: Option<&HookPlan>,
    names: &BTreeMap<PolicyId, PolicyNames>,
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
            let entry = plan.entries.get(usize::from(selector.entry));
            if let (Some(entry), Some(names)) = (entry, names.get(&selector.policy)) {
                selectors.insert((selector.policy.0, selector.bit), Arc::new(selector_info(entry, selector, names)));
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
