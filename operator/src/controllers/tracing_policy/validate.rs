//! Whether a policy can be carried out: the planner has said so, or there is no stack to plan for. Pure.

use trilobite_crds::{Reason, Refusal, UserKind, node::ProfileRef};

use super::dereference::Found;
use crate::{plan::Outcome, status::words};

#[derive(Debug, PartialEq)]
pub(super) enum Valid {
    Refused(Vec<Refusal>),
    Suspended,
    /// The plan does not know this generation yet; its controller is told of it at the same time.
    NotYet,
    Planned {
        profile: ProfileRef,
        digest: String,
    },
}

pub(super) fn run(policy: &impl UserKind, found: &Found) -> Valid {
    let source = policy.source();
    if !found.has_stack {
        return Valid::Refused(vec![Refusal::new(&source, Reason::NoStack, "", words::no_stack())]);
    }
    match found.plan.as_ref().map_or(Outcome::NotYet, |plan| plan.outcome(&source)) {
        Outcome::Refused(refusals) => Valid::Refused(refusals),
        Outcome::Suspended => Valid::Suspended,
        Outcome::NotYet => Valid::NotYet,
        Outcome::Part { profile, digest } => Valid::Planned { profile, digest },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trilobite_crds::{Inputs, ObservabilityStack, TracingPolicy, plan};

    use super::*;
    use crate::plan::Plan;

    fn policy(name: &str, tracepoints: &str) -> TracingPolicy {
        serde_yaml::from_str(&format!(
            "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}, generation: 3}}\nspec:\n  {tracepoints}"
        ))
        .unwrap()
    }

    fn planned(policies: &[&TracingPolicy]) -> Found {
        let mut stack = ObservabilityStack::default();
        stack.metadata.name = Some("default".into());
        let inputs = Inputs { stack: &stack, policies: policies.to_vec(), namespaced_policies: Vec::new() };
        Found { has_stack: true, plan: Some(Arc::new(Plan::new(plan(&inputs)))) }
    }

    const OPEN: &str = "tracepoints: [{subsystem: syscalls, event: sys_enter_openat}]";

    #[test]
    fn one_bad_policy_beside_a_good_one_is_refused_alone() {
        let (good, bad) = (policy("good", OPEN), policy("bad", "kprobes: [{call: fd_install}]"));
        let found = planned(&[&good, &bad]);
        assert!(matches!(run(&good, &found), Valid::Planned { .. }));
        let Valid::Refused(refusals) = run(&bad, &found) else { panic!("it is refused") };
        assert_eq!(refusals[0].reason, Reason::Unsupported);
        assert!(refusals[0].message.contains("spec.kprobes"), "{}", refusals[0].message);
    }

    #[test]
    fn a_generation_that_the_plan_does_not_know_is_not_judged() {
        let old = policy("watch-ink", OPEN);
        let found = planned(&[&old]);
        let mut new = old.clone();
        new.metadata.generation = Some(4);
        assert_eq!(run(&new, &found), Valid::NotYet);
    }

    #[test]
    fn without_a_stack_a_policy_says_so() {
        let found = Found { has_stack: false, plan: None };
        let Valid::Refused(refusals) = run(&policy("good", OPEN), &found) else { panic!("it is refused") };
        assert_eq!(refusals[0].reason, Reason::NoStack);
    }
}
