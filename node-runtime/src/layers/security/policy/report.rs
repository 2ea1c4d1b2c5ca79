//! Reports of policies: their states, their hooks, and the counters of their selectors, which are read when a client asks.

use std::{collections::BTreeMap, sync::Arc};

use trilobite_crds::node::{PodScope, PolicyPart};
use trilobite_node_ebpf::HookHits;

use super::set::{ActivePolicy, PolicySet, resource};
use crate::{
    identity::selection::selects_whole_machine,
    kernel::Map,
    layers::security::policy_report::{
        ActionCounters, HookReport, PolicyMode, PolicyReport, PolicyState, SelectorReport,
    },
    plan::{
        UnitKey, UnitState,
        policy::{
            AttachPoint, Compiled, HookPlan, PolicyId,
            hook_plan::{ActionPlan, HookEntry, HookSection, SelectorPlan},
        },
    },
    problem::Problem,
};

/// A report without its counters, and where these are.
pub(in crate::layers::security) struct ReportTemplate {
    report: PolicyReport,
    counters: Vec<Counter>,
}

/// The counters of one selector bit.
struct Counter {
    hook: usize,
    selector: usize,
    hits: Arc<Map>,
    bit: u16,
    posts: bool,
    is_monitored: bool,
}

impl ReportTemplate {
    /// A policy without hooks, e.g. one that was refused.
    pub(super) fn new(report: PolicyReport) -> Self {
        Self { report, counters: Vec::new() }
    }

    /// Adds the hooks and selectors of an active policy.
    fn add_hooks(&mut self, part: &PolicyPart, entries: &[ActiveEntry<'_>]) {
        let mut signals = 0;
        let mut monitored = 0;
        for ActiveEntry { plan, entry, selectors, hits } in entries {
            let hook = self.report.hooks.len();
            self.report.hooks.push(hook_report(plan, entry, &selector_labels(part, entry)));
            for selector in selectors {
                let is_monitored = has_signal(selector, true);
                monitored += usize::from(is_monitored);
                signals += usize::from(has_signal(selector, false));
                let Some(hits) = hits else { continue };
                self.counters.push(Counter {
                    hook,
                    selector: selector.selector.into(),
                    hits: hits.clone(),
                    bit: selector.bit,
                    posts: !selector.actions.iter().any(|action| matches!(action, ActionPlan::NoPost)),
                    is_monitored,
                });
            }
        }
        self.report.mode = match (signals, monitored) {
            (0, 0) => PolicyMode::MonitorOnly,
            (0, _) => PolicyMode::Monitor,
            _ => PolicyMode::Enforce,
        };
    }

    /// The report with the counters of now.
    pub(in crate::layers::security) fn read(&self) -> PolicyReport {
        let mut report = self.report.clone();
        for counter in &self.counters {
            let hits: HookHits = counter.hits.get(&u32::from(counter.bit)).ok().flatten().unwrap_or_default();
            let selectors = report.hooks.get_mut(counter.hook).map(|hook| &mut hook.selectors);
            if let Some(selector) = selectors.and_then(|selectors| selectors.get_mut(counter.selector)) {
                selector.counters.add(ActionCounters {
                    posts: hits.posts,
                    unposted: if counter.posts { 0 } else { hits.matches },
                    signals: hits.signals,
                    monitored_signals: if counter.is_monitored { hits.matches } else { 0 },
                });
            }
        }
        report
    }
}

/// An item of a policy in an active hook.
struct ActiveEntry<'a> {
    plan: &'a HookPlan,
    entry: &'a HookEntry,
    selectors: Vec<&'a SelectorPlan>,
    /// The counters of the hook.
    hits: Option<Arc<Map>>,
}

/// The items of all policies, in the order of their hooks.
fn entries_by_policy<'a>(
    compiled: &'a Compiled,
    hits: &BTreeMap<&AttachPoint, Arc<Map>>,
) -> BTreeMap<PolicyId, Vec<ActiveEntry<'a>>> {
    let mut by_policy: BTreeMap<PolicyId, Vec<ActiveEntry<'a>>> = BTreeMap::new();
    for (point, plan) in &compiled.hooks {
        let mut selectors: Vec<Vec<&SelectorPlan>> = vec![Vec::new(); plan.entries.len()];
        for selector in &plan.selectors {
            selectors[usize::from(selector.entry)].push(selector);
        }
        for (entry, selectors) in plan.entries.iter().zip(selectors) {
            let hits = hits.get(point).cloned();
            by_policy.entry(entry.policy).or_default().push(ActiveEntry { plan, entry, selectors, hits });
        }
    }
    by_policy
}

fn has_signal(selector: &SelectorPlan, monitored: bool) -> bool {
    selector
        .actions
        .iter()
        .any(|action| matches!(action, ActionPlan::Signal { is_monitored, .. } if *is_monitored == monitored))
}

fn hook_report(plan: &HookPlan, entry: &HookEntry, labels: &[String]) -> HookReport {
    let section = match entry.section {
        HookSection::Kprobe => "kprobes",
        HookSection::Fentry => "fentries",
        HookSection::Tracepoint => "tracepoints",
    };
    let index = entry.field.split(['[', ']']).nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    let selector = |label: &String| SelectorReport { label: label.clone(), counters: ActionCounters::default() };
    // A hook without selectors has one that matches every call.
    let selectors =
        if labels.is_empty() { vec![SelectorReport::default()] } else { labels.iter().map(selector).collect() };
    HookReport { section, index, name: plan.point.name().to_owned(), is_loaded: true, selectors }
}

impl PolicySet {
    /// A report for each policy of these states: of the version that is active, where there is one.
    pub(in crate::layers::security) fn report_templates(
        &self,
        states: &BTreeMap<UnitKey, UnitState>,
    ) -> Vec<ReportTemplate> {
        let hits: BTreeMap<_, _> = self.hooks.iter().map(|(point, hook)| (point, hook.program.hits_map())).collect();
        let entries = entries_by_policy(&self.compiled, &hits);
        let units: BTreeMap<_, &ActivePolicy> = self.units.iter().map(|(key, unit)| (resource(key), unit)).collect();
        let templates = states.iter().map(|(key, state)| {
            let (namespace, name) = key.name.split_once('/').unwrap_or(("", &key.name));
            let active = units.get(&resource(key));
            let (state, error) = match state {
                UnitState::Refused(problem) => (PolicyState::Refused, problem.message()),
                UnitState::Active { notes } => {
                    let is_partial = notes.iter().any(|note| matches!(note, Problem::FunctionLeftOut { .. }));
                    let state = if is_partial { PolicyState::PartiallyEnabled } else { PolicyState::Enabled };
                    (state, String::new())
                }
            };
            let mut template = ReportTemplate::new(PolicyReport {
                id: active.map_or(0, |unit| unit.version.id.0.into()),
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                has_scope: active.is_some_and(|unit| has_scope(&unit.version.part.pods)),
                state,
                error,
                ..PolicyReport::default()
            });
            if let Some(unit) = active {
                let entries = entries.get(&unit.version.id).map(Vec::as_slice).unwrap_or_default();
                template.add_hooks(&unit.version.part, entries);
            }
            template
        });
        templates.collect()
    }
}

/// Labels of the selectors of an entry's hook, in their order.
fn selector_labels(part: &PolicyPart, entry: &HookEntry) -> Vec<String> {
    let found = part.spec.hooks().find(|(path, _)| *path == entry.field);
    let selectors = found.map(|(_, hook)| hook.selectors()).unwrap_or_default();
    selectors.iter().map(|selector| selector.label.clone()).collect()
}

/// Some pods only, not the whole node.
fn has_scope(scope: &PodScope) -> bool {
    scope.namespace.is_some() || !selects_whole_machine(scope)
}
