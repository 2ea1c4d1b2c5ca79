//! Whether a policy is supported: the plan says so, or there is no stack to plan for. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{ResourceExt as _, core::PartialObjectMeta};
use trilobite_crds::{
    Reason, Refusal, UserKind,
    node::{PodScope, ProfileRef},
    selector::Labels,
};

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
        out_of_scope: bool,
        dry_run: bool,
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
        PolicyOutcome::Part { profile, digest, pods, dry_run } => {
            let out_of_scope = is_out_of_scope(&pods, &dereferenced.namespaces);
            ValidatedPolicy::Planned { profile, digest, out_of_scope, dry_run }
        }
    }
}

/// Whether the policy selects no pod of any namespace, whatever its labels, and not the host's processes.
fn is_out_of_scope(pods: &PodScope, namespaces: &[Arc<PartialObjectMeta<Namespace>>]) -> bool {
    let namespaces_only = PodScope { pod_selector: None, ..pods.clone() };
    !pods.include_host
        && !namespaces.iter().any(|namespace| {
            let labels = namespace.labels();
            namespaces_only.matches(&namespace.name_any(), labels, &Labels::new()).unwrap_or(false)
        })
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{Inputs, ObservabilityStack, TracingPolicy, plan};

    use super::*;
    use crate::plan::Plan;

    fn policy(name: &str, tracepoints: &str) -> TracingPolicy {
        serde_yaml::from_str(&format!(
            "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}, generation: 3}}\nspec:\n  {tracepoints}"
        ))
        .unwrap()
    }

    fn namespace(name: &str, team: &str) -> Arc<PartialObjectMeta<Namespace>> {
        let metadata = serde_json::json!({"name": name, "labels": {"team": team}});
        Arc::new(serde_json::from_value(serde_json::json!({"metadata": metadata})).unwrap())
    }

    fn planned(policies: &[&TracingPolicy]) -> DereferencedPolicy {
        let mut stack = ObservabilityStack::default();
        stack.metadata.name = Some("default".into());
        let inputs = Inputs { policies: policies.to_vec(), ..Inputs::new(&stack) };
        DereferencedPolicy {
            has_stack: true,
            plan: Some(Arc::new(Plan::new(plan(&inputs)))),
            namespaces: vec![namespace("payments", "coral")],
        }
    }

    const OPEN: &str = "tracepoints: [{subsystem: syscalls, event: sys_enter_openat}]";

    #[test]
    fn a_bad_policy_beside_a_good_one_is_refused_alone() {
        let (good, bad) = (policy("good", OPEN), policy("bad", "lsmhooks: [{hook: file_open}]"));
        let dereferenced = planned(&[&good, &bad]);
        assert!(matches!(validate(&good, &dereferenced), ValidatedPolicy::Planned { .. }));
        let ValidatedPolicy::Refused(refusals) = validate(&bad, &dereferenced) else { panic!("it is refused") };
        assert_eq!(refusals[0].reason, Reason::Unsupported);
        assert!(refusals[0].message.contains("spec.lsmhooks"), "{}", refusals[0].message);
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
    fn a_policy_whose_namespaces_the_stack_leaves_out_is_out_of_scope() {
        let namespaces = [namespace("payments", "coral"), namespace("orders", "kelp")];
        let selecting = |team: &str, namespace: Option<&str>| PodScope {
            namespace: namespace.map(str::to_owned),
            namespace_selector: serde_json::from_value(serde_json::json!({"matchLabels": {"team": team}})).unwrap(),
            ..PodScope::default()
        };
        assert!(!is_out_of_scope(&selecting("coral", Some("payments")), &namespaces));
        assert!(is_out_of_scope(&selecting("coral", Some("orders")), &namespaces));
        // A cluster-wide policy.
        assert!(!is_out_of_scope(&selecting("kelp", None), &namespaces));
        assert!(is_out_of_scope(&selecting("reef", None), &namespaces));
        assert!(!is_out_of_scope(&PodScope { include_host: true, ..PodScope::default() }, &[]));
    }

    #[test]
    fn a_policy_without_a_stack_is_refused_with_no_stack() {
        let dereferenced = DereferencedPolicy { has_stack: false, plan: None, namespaces: Vec::new() };
        let validated = validate(&policy("good", OPEN), &dereferenced);
        let ValidatedPolicy::Refused(refusals) = validated else { panic!("it is refused") };
        assert_eq!(refusals[0].reason, Reason::NoStack);
    }
}
