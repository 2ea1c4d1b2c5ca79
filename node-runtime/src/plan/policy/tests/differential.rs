//! What the tables say equals what the plain evaluator says, for random policies and random calls.

use std::sync::Arc;

use trilobite_crds::{
    node::{PodScope, PolicyPart, Source, SourceKind, matches_container},
    policy::{
        List, TracingPolicySpec, check,
        evaluate::{Call, CallValue, Workload, evaluate},
    },
    selector::Labels,
};

use super::{
    random::{Random, seeds},
    small_kernel::{SmallCall, SmallHook, kernel},
    spec::{any_hook, random_part},
};
use crate::plan::policy::{
    Compiled, HookPlan, Kernel, PolicyId, PolicyInput, PolicyVersion,
    call::numeric_lists,
    compile,
    dimension::{DimensionTable, Row},
    hook_plan::SelectorPlan,
    interpret::{HookCall, winners},
};

/// A policy as both sides see it.
pub(super) struct Checked {
    pub(super) id: PolicyId,
    pub(super) spec: TracingPolicySpec,
    pub(super) lists: Vec<List>,
}

impl Checked {
    pub(super) fn new(id: PolicyId, part: &PolicyPart, kernel: &dyn Kernel) -> Option<Self> {
        let spec = check::check(&part.spec, false).ok()?;
        let lists = numeric_lists(&spec.lists, kernel);
        Some(Self { id, spec, lists })
    }
}

pub(super) fn input(id: u32, part: Arc<PolicyPart>) -> PolicyInput {
    let source =
        Source { kind: SourceKind::TracingPolicy, namespace: None, name: format!("policy-{id}"), generation: 1 };
    PolicyInput { source, wanted: PolicyVersion { id: PolicyId(id), part }, former: None }
}

/// The call as a policy's hook reads it.
fn call_of(world: &SmallCall, hook: trilobite_crds::policy::Hook<'_>, small: &SmallHook) -> Call {
    let at = |index: i32| world.args[usize::try_from(index).unwrap()].clone();
    let data = [world.comm.clone(), world.uid.clone()];
    Call {
        args: hook.args().iter().map(|argument| at(argument.index)).collect(),
        data: hook.data().iter().map(|argument| data[usize::try_from(argument.index).unwrap()].clone()).collect(),
        returned: hook.return_arg().map(|_| world.returned.clone()),
        process: world.process.clone(),
        executed_file: if small.name == "security_bprm_check" { world.executed_file.clone() } else { Vec::new() },
    }
}

fn is_wanted(scope: &PodScope, workload: &Workload) -> bool {
    match workload {
        Workload::Host => scope.includes_host(),
        Workload::Container { namespace, labels, container, repo } => {
            scope.matches(namespace, &Labels::new(), labels) == Ok(true)
                && scope.container_selectors().all(|wanted| matches_container(wanted, container, repo) == Ok(true))
        }
    }
}

/// The row of a task's class: the bits whose scopes want it.
pub(super) fn class_row<'a>(
    plan: &HookPlan,
    selectors: impl Iterator<Item = &'a SelectorPlan>,
    world: &SmallCall,
) -> Row {
    let mut row = Row::empty(plan.width.words());
    for selector in selectors.filter(|selector| is_wanted(&selector.scope, &world.process.workload)) {
        row.add(selector.bit);
    }
    row
}

/// The selectors that win, as (policy, item of the policy, whether only for its actions at the entry, selector).
pub(super) type Winner = (PolicyId, String, bool, u16);

pub(super) fn interpreted(
    plan: &HookPlan,
    tables: &[DimensionTable],
    row: &Row,
    world: &SmallCall,
    binaries: &crate::plan::policy::BinaryTables,
) -> Vec<Winner> {
    let values: Vec<CallValue> = plan.values.iter().map(|value| world.read(value)).collect();
    let call = HookCall { values: &values, process: &world.process, binaries };
    let bits = winners(plan, tables, row, &call);
    let mut winners: Vec<Winner> = bits
        .into_iter()
        .map(|bit| {
            let selector = plan.selectors.iter().find(|selector| selector.bit == bit).unwrap();
            let entry = plan.entry_of(selector).unwrap();
            (selector.policy, entry.field.clone(), entry.is_entry_of_return, selector.selector)
        })
        .collect();
    winners.sort();
    winners
}

/// The same, by the plain evaluator.
pub(super) fn evaluated(policies: &[&Checked], plan: &HookPlan, small: &SmallHook, world: &SmallCall) -> Vec<Winner> {
    let mut winners = Vec::new();
    for entry in &plan.entries {
        let Some(policy) = policies.iter().find(|policy| policy.id == entry.policy) else { continue };
        let (_, hook) = policy.spec.hooks().find(|(path, _)| *path == entry.field).unwrap();
        let outcome = evaluate(hook, &policy.lists, &call_of(world, hook, small));
        let is_at_return = plan.point.has_return() && !entry.is_entry_of_return;
        let found = if is_at_return { outcome.at_return } else { outcome.entry };
        winners.extend(found.map(|found| {
            (entry.policy, entry.field.clone(), entry.is_entry_of_return, u16::try_from(found.selector).unwrap())
        }));
    }
    winners.sort();
    winners
}

/// Compares both sides for so many policies on one hook and so many calls; returns how many pairs were compared and matched.
fn compare(seed: u64, policies: usize, calls: usize) -> (usize, usize) {
    let mut random = Random::new(seed);
    let kernel = kernel();
    let small = any_hook(&mut random);
    let parts: Vec<Arc<PolicyPart>> = (0..policies).map(|_| random_part(small, &mut random)).collect();
    let inputs: Vec<PolicyInput> = (1..).zip(&parts).map(|(id, part)| input(id, part.clone())).collect();
    let compiled = compile(&inputs, &kernel, &Compiled::default());
    let checked: Vec<Checked> = inputs
        .iter()
        .filter(|input| !compiled.refused.contains_key(&input.wanted.id))
        .filter_map(|input| Checked::new(input.wanted.id, &input.wanted.part, &kernel))
        .collect();
    let all: Vec<&Checked> = checked.iter().collect();
    let (mut compared, mut matched) = (0, 0);
    for number in 0..calls {
        let world = SmallCall::random(small, &mut random);
        for plan in compiled.hooks.values() {
            let row = class_row(plan, plan.selectors.iter(), &world);
            let found = interpreted(plan, &plan.tables, &row, &world, &compiled.binaries);
            let expected = evaluated(&all, plan, small, &world);
            assert_eq!(
                found,
                expected,
                "seed {seed}, call {number} of {}: args {:?}, returned {:?}, process {:?}\n{}",
                plan.point,
                world.args,
                world.returned,
                world.process,
                crate::plan::policy::explain::explain(&compiled, &|id| id.0.to_string())
            );
            compared += plan.entries.len();
            matched += expected.len();
        }
    }
    (compared, matched)
}

#[test]
fn tables_answer_as_the_plain_evaluator() {
    let (mut compared, mut matched) = (0, 0);
    for seed in seeds(220) {
        let (pairs, hits) = compare(seed, 1 + (seed % 12) as usize, 60);
        compared += pairs;
        matched += hits;
    }
    // A comparison in which nothing, or everything, matches shows nothing.
    assert!(matched * 20 > compared && matched * 10 < compared * 9, "{matched} of {compared}");
    assert!(compared > 100_000, "{compared}");
}
