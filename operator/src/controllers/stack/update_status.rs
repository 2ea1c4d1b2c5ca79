//! Tells the index what the stack asks and the policies' controllers what was planned. No request here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt as _;
use trilobite_crds::{ObservabilityStack, Reason, Refusal, UserKind as _, node::NodeProfileSpec};

use super::{
    super::{asked, chain},
    Error,
    apply::NotTaken,
    build::{Applied, Children},
    dereference::Found,
    validate::Valid,
};
use crate::{
    children::TEMPLATE,
    context::Context,
    plan::Plan,
    status::{Asked, Key, Report, Wanted, words},
};

/// After `apply`, and never before: only it makes `Children<Applied>`.
pub(super) async fn report(
    stack: &ObservabilityStack,
    valid: &Valid,
    found: &Found,
    applied: &Children<Applied>,
    not_taken: &[NotTaken],
    context: &Context,
) {
    context.metrics.pointed(applied.told.len());
    let profiles = found
        .profiles
        .iter()
        .filter(|profile| !applied.garbage.profiles.contains(&profile.name_any()))
        .chain([&valid.planned.profile])
        .map(|profile| (profile.spec.digest.clone(), digests(&profile.spec)))
        .collect::<BTreeMap<_, _>>();
    let rollout = applied.rollout.clone();
    let (fleet, template) = (valid.fleet.clone(), template(&applied.daemon_set, not_taken));
    context.report(Report::Fleet { fleet, template, profiles, rollout }).await;
    // After the fleet: whoever hears of the plan may ask for nodes.
    context.plan.send_replace(Some(Arc::new(Plan::new(valid.planned.clone()))));
    let source = stack.source();
    let refused = not_taken.iter().map(|NotTaken { kind, why }| {
        Refusal::new(&source, Reason::InvalidSpec, "spec.runtime", words::not_taken(kind, why))
    });
    let refusals = valid.refusals.iter().cloned().chain(refused).collect();
    let wanted = Wanted::Profile(valid.profile.clone());
    let asked = Asked { suspended: stack.spec.suspend, ..asked(stack, refusals, wanted) };
    context.report(Report::Asked(Box::new(asked))).await;
}

/// What the agents' pods are made from now; unknown while Kubernetes refuses it.
fn template(daemon_set: &DaemonSet, not_taken: &[NotTaken]) -> Option<String> {
    let template = &daemon_set.spec.as_ref()?.template;
    let labels = template.metadata.as_ref()?.labels.as_ref()?;
    labels.get(TEMPLATE).filter(|_| not_taken.is_empty()).cloned()
}

/// The last plan stays in force; the stack says what hinders the next one.
pub(super) async fn failed(stack: &ObservabilityStack, error: &Error, context: &Context) {
    let reason = if error.is_denied() { Reason::AccessDenied } else { Reason::ProgressingWithRetry };
    let (key, message) = (Key::from(&stack.source()), chain(error));
    // A stack that was never planned is made known first.
    if context.plan.borrow().is_none() {
        context.report(Report::Asked(Box::new(asked(stack, Vec::new(), Wanted::Nothing)))).await;
    }
    let generation = stack.source().generation;
    context.report(Report::Trouble { key, generation, reason, message }).await;
}

fn digests(profile: &NodeProfileSpec) -> BTreeSet<String> {
    profile.parts.iter().map(|part| part.digest.clone()).collect()
}
