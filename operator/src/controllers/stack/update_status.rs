//! Tells the index what the stack asks and the policies' controllers what was planned. No request here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;
use trilobite_crds::{ObservabilityStack, Reason, UserKind as _, node::NodeProfileSpec};

use super::{
    super::{asked, chain},
    Error,
    build::{Applied, Children},
    dereference::Found,
    validate::Valid,
};
use crate::{
    context::Context,
    plan::Plan,
    status::{Asked, Key, Report, Wanted},
};

/// After `apply`, and never before: only it makes `Children<Applied>`.
pub(super) async fn report(
    stack: &ObservabilityStack,
    valid: &Valid,
    found: &Found,
    applied: &Children<Applied>,
    context: &Context,
) {
    context.metrics.pointed(applied.told.len());
    context.plan.send_replace(Some(Arc::new(Plan::new(valid.planned.clone()))));
    let profiles = found
        .profiles
        .iter()
        .filter(|profile| !applied.garbage.profiles.contains(&profile.name_any()))
        .chain([&valid.planned.profile])
        .map(|profile| (profile.spec.digest.clone(), digests(&profile.spec)))
        .collect::<BTreeMap<_, _>>();
    let rollout = applied.rollout.clone();
    context.report(Report::Fleet { fleet: valid.fleet.clone(), profiles, rollout }).await;
    let wanted = Wanted::Profile(valid.profile.clone());
    let asked = Asked { suspended: stack.spec.suspend, ..asked(stack, valid.refusals.clone(), wanted) };
    context.report(Report::Asked(Box::new(asked))).await;
}

/// The last plan stays in force; the stack says what hinders the next one.
pub(super) async fn failed(stack: &ObservabilityStack, error: &Error, context: &Context) {
    let reason = if error.is_denied() { Reason::AccessDenied } else { Reason::ProgressingWithRetry };
    let (key, message) = (Key::from(&stack.source()), chain(error));
    // A stack that was never planned is made known first.
    if context.plan.borrow().is_none() {
        context.report(Report::Asked(Box::new(asked(stack, Vec::new(), Wanted::Nothing)))).await;
    }
    context.report(Report::Trouble { key, reason, message }).await;
}

fn digests(profile: &NodeProfileSpec) -> BTreeSet<String> {
    profile.parts.iter().map(|part| part.digest.clone()).collect()
}
