//! Whether a policy is supported: the plan says so, or there is no stack to plan for. Pure.

use trilobite_crds::{Reason, Refusal, UserKind, node::ProfileRef};

use super::dereference::DereferencedPolicy;
use crate::{plan::PolicyOutcome, status::messages};

#[derive(Debug, PartialEq)]
pub(super) enum ValidatedPolicy {
    Refused(Vec<Refusal>),
    Suspended,
    /// The plan does not contain this generation yet; the stack's controller is triggered by the same edit.
    NotPlanned,
    Planned {
        profile: ProfileRef,
        digest: String,
    },
}

pub(super) fn validate(policy: &impl UserKind, dereferenced: &DereferencedPolicy) -> ValidatedPolicy {
    let source = policy.source();
    if !dereferenced.has_stack {
        return ValidatedPolicy::Refused(vec![Refusal::new(&source, Reason::NoStack, "", messages::no_stack())]);
    }
    match dereferenced.plan.as_ref().map_or(PolicyOutcome::NotPlanned, |plan| plan.outcome(&source)) {
        PolicyOutcome::Refused(refusals) => ValidatedPolicy::Refused(refusals),
        PolicyOutcome::Suspended => ValidatedPolicy::Suspended,
        PolicyOutcome::NotPlanned => ValidatedPolicy::NotPlanned,
        PolicyOutcome::Part { profile, digest } => ValidatedPolicy::Planned { profile, digest },
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

    fn planned(policies: &[&TracingPolicy]) -> DereferencedPolicy {
        let mut stack = ObservabilityStack::default();
        stack.metadata.name = Some("default".into());
        let inputs = Inputs { stack: &stack, policies: policies.to_vec(), namespaced_policies: Vec::new() };
        DereferencedPolicy { has_stack: true, plan: Some(Arc::new(Plan::new(plan(&inputs)))) }
    }

    const OPEN: &str = "tracepoints: [{subsystem: syscalls, event: sys_enter_openat}]";

    #[test]
    fn a_bad_policy_beside_a_good_one_is_refused_alone() {
        let (good, bad) = (policy("good", OPEN), policy("bad", "kprobes: [{call: fd_install}]"));
        let dereferenced = planned(&[&good, &bad]);
        assert!(matches!(validate(&good, &dereferenced), ValidatedPolicy::Planned { .. }));
        let ValidatedPolicy::Refused(refusals) = validate(&bad, &dereferenced) else { panic!("it is refused") };
        assert_eq!(refusals[0].reason, Reason::Unsupported);
        assert!(refusals[0].message.contains("spec.kprobes"), "{}", refusals[0].message);
    }

    #[test]
    fn a_generation_newer_than_the_plan_is_not_judged() {
        let old = policy("watch-ink", OPEN);
        let dereferenced = planned(&[&old]);
        let mut new = old.clone();
        new.metadata.generation = Some(4);
        assert_eq!(validate(&new, &dereferenced), ValidatedPolicy::NotPlanned);
    }

    #[test]
    fn a_policy_without_a_stack_is_refused_with_no_stack() {
        let dereferenced = DereferencedPolicy { has_stack: false, plan: None };
        let validated = validate(&policy("good", OPEN), &dereferenced);
        let ValidatedPolicy::Refused(refusals) = validated else { panic!("it is refused") };
        assert_eq!(refusals[0].reason, Reason::NoStack);
    }
}
