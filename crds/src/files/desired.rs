//! The desired state of a node for resources from files, as an operator would have planned it.

use std::collections::HashSet;

use jiff::Timestamp;

use super::resource::Resource;
use crate::{
    AppProfile, Inputs, NamespaceClaim, ObservabilityStack, ObservabilityStackSpec, Refusal, STACK_NAME, UserKind,
    above_namespace_budget,
    node::{Desired, Session},
    plan,
    reason::Reason,
    selector::Labels,
    session_for_capture, session_for_profile,
};

/// Plans `resources` for this node alone. Sessions begin at `now`. Without a stack its defaults apply.
/// Refused resources are left out; all others are planned.
pub fn desired_from_resources(resources: &[Resource], now: Timestamp) -> (Desired, Vec<Refusal>) {
    let (unique, mut refusals) = unique(resources);
    let fallback = ObservabilityStack::new(STACK_NAME, ObservabilityStackSpec::default());
    let mut stack = &fallback;
    let mut inputs = Inputs::new(stack);
    for resource in &unique {
        match resource {
            Resource::Stack(object) if object.source().name == STACK_NAME => stack = object,
            Resource::Stack(object) => {
                let must = format!("{STACK_NAME:?}: there is one ObservabilityStack");
                let source = object.source();
                refusals.push(Refusal::invalid_value(&source, "metadata.name".into(), &source.name, &must));
            }
            Resource::Policy(policy) => inputs.policies.push(policy),
            Resource::NamespacedPolicy(policy) => inputs.namespaced_policies.push(policy),
            Resource::CiliumPolicy(policy) => inputs.cilium_policies.push(policy),
            Resource::CiliumNamespacedPolicy(policy) => inputs.cilium_namespaced_policies.push(policy),
            Resource::Capture(_) | Resource::Profile(_) => {}
        }
    }
    inputs.stack = stack;
    let planned = plan(&inputs);
    refusals.extend(planned.refusals);
    let mut sessions = Vec::new();
    for resource in &unique {
        let session = match resource {
            Resource::Capture(capture) => session_for_capture(capture, stack, now),
            Resource::Profile(profile) => session_for_profile(profile, stack, &known_labels(profile), now),
            Resource::Stack(_)
            | Resource::Policy(_)
            | Resource::NamespacedPolicy(_)
            | Resource::CiliumPolicy(_)
            | Resource::CiliumNamespacedPolicy(_) => continue,
        };
        match session {
            Ok(session) => sessions.push(session),
            Err(refusal) => refusals.push(refusal),
        }
    }
    refusals.extend(remove_above_budget(&mut sessions, stack));
    sessions.sort_by(|a, b| a.name.cmp(&b.name));
    let mut parts: Vec<_> = planned.parts.into_iter().map(|part| part.spec).collect();
    parts.sort_by(|a, b| a.digest.cmp(&b.digest));
    let desired = Desired {
        suspended: stack.spec.suspend,
        parts,
        sessions,
        export: stack.spec.export.plan(),
        application: planned.profile.spec.application.unwrap_or_default(),
        network: planned.profile.spec.network.unwrap_or_default(),
        ..Desired::default()
    };
    (desired, refusals)
}

/// The label that an API server gives to every namespace; no other is known without one.
fn known_labels(profile: &AppProfile) -> Labels {
    let namespace = profile.source().namespace.unwrap_or_default();
    [("kubernetes.io/metadata.name".to_owned(), namespace)].into()
}

/// Removes the sessions that do not fit into the budget of their namespace; returns their refusals.
fn remove_above_budget(sessions: &mut Vec<Session>, stack: &ObservabilityStack) -> Vec<Refusal> {
    let claims: Vec<_> = sessions.iter().map(|session| NamespaceClaim::new(session, None)).collect();
    let refusals = above_namespace_budget(&claims, &stack.spec.tenancy.per_namespace);
    sessions.retain(|session| refusals.iter().all(|refusal| refusal.source != session.source));
    refusals
}

/// The first of each kind, namespace and name; the others are refused.
fn unique(resources: &[Resource]) -> (Vec<&Resource>, Vec<Refusal>) {
    let mut seen = HashSet::new();
    let mut refusals = Vec::new();
    let mut kept = Vec::new();
    for resource in resources {
        let source = resource.source();
        if seen.insert((source.kind, source.namespace.clone(), source.name.clone())) {
            kept.push(resource);
        } else {
            let message = "an earlier resource has the same kind and name; remove one of them";
            refusals.push(Refusal::new(&source, Reason::Conflict, "metadata.name", message));
        }
    }
    (kept, refusals)
}
