//! Reports the stack to the index and the plan to the policies' controllers. Sends no request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt as _;
use trilobite_crds::{ObservabilityStack, Reason, Refusal, UserKind as _, node::NodeProfileSpec};

use super::{
    apply::{RUNTIME, RejectedObject},
    build::OwnedObjects,
    dereference::DereferencedStack,
    error::StackError,
    validate::{Registration, ValidatedStack, relay_state},
};
use crate::{
    context::Context,
    controllers::{error_chain::error_chain, phase::Applied, status_input::status_input},
    labels::TEMPLATE,
    plan::Plan,
    resource_key::ResourceKey,
    status::{ControllerReport, Requested, StatusInput, messages},
};

/// Reports the planned profile before a node is pointed at it: the index has to know which parts it has, and that the
/// stack stays active with it.
pub(super) async fn announce_profile(stack: &ObservabilityStack, validated: &ValidatedStack, context: &Context) {
    let planned = &validated.planned.profile.spec;
    let (generation, profile) = (stack.source().generation, planned.digest.clone());
    context.report(ControllerReport::Planned { generation, profile, parts: part_digests(planned) }).await;
}

pub(super) async fn update_status(
    stack: &ObservabilityStack,
    validated: &ValidatedStack,
    dereferenced: &DereferencedStack,
    applied: &OwnedObjects<Applied>,
    rejected: &[RejectedObject],
    context: &Context,
) {
    context.metrics.record_pointer_moves(applied.runtimes.len());
    let selection = validated.selection.clone();
    let template = template_digest(&applied.daemon_set, rejected);
    let profiles = live_profiles(validated, dereferenced, applied);
    let rollout = applied.rollout.clone();
    context.report(ControllerReport::Stack { selection, template, profiles, rollout }).await;
    // After the report: a policy's controller that sees the plan reports a part whose nodes the index must know.
    context.plan.send_replace(Some(Arc::new(Plan::new(validated.planned.clone()))));
    update_relay(validated, dereferenced, applied, context).await;
    let source = stack.source();
    let rejected = rejected.iter().map(|RejectedObject { field, kind, why }| {
        Refusal::new(&source, Reason::InvalidSpec, *field, messages::object_rejected(field, kind, why))
    });
    let refusals = validated.refusals.iter().cloned().chain(rejected).collect();
    let requested = Requested::Profile(validated.profile.clone());
    let application = validated.planned.profile.spec.application.as_ref();
    let standing = application.and_then(|settings| settings.standing.as_ref()?.requests.clone());
    let suspended = stack.spec.suspend;
    let input = StatusInput { suspended, standing, ..status_input(stack, refusals, requested) };
    context.report(ControllerReport::Resource(Box::new(input))).await;
}

/// Hands the CA to the controllers of certificates, and reports how the relay is.
async fn update_relay(
    validated: &ValidatedStack,
    dereferenced: &DereferencedStack,
    applied: &OwnedObjects<Applied>,
    context: &Context,
) {
    let authority = applied.relay.as_ref().map(|relay| Arc::new(relay.authority.current().clone()));
    context.authority.send_if_modified(|known| {
        let changed = *known != authority;
        *known = authority;
        changed
    });
    let withdrawal = validated.relay.as_ref().ok().and_then(|relay| match &relay.registration {
        Registration::Withdrawn(withdrawal) => Some(withdrawal.clone()),
        Registration::Registered | Registration::NoReplica => None,
    });
    *context.withdrawal.lock() = withdrawal;
    context.report(ControllerReport::Relay(relay_state(&validated.relay, &dereferenced.relay))).await;
}

/// Digests of the parts of each profile that exists now, by the digest of the profile.
fn live_profiles(
    validated: &ValidatedStack,
    dereferenced: &DereferencedStack,
    applied: &OwnedObjects<Applied>,
) -> BTreeMap<String, BTreeSet<String>> {
    let kept = dereferenced.profiles.iter().filter(|profile| !applied.garbage.profiles.contains(&profile.name_any()));
    kept.chain([&validated.planned.profile])
        .map(|profile| (profile.spec.digest.clone(), part_digests(&profile.spec)))
        .collect()
}

fn part_digests(profile: &NodeProfileSpec) -> BTreeSet<String> {
    profile.parts.iter().map(|part| part.digest.clone()).collect()
}

/// Digest of the agents' current pod template; none while Kubernetes rejects an object of theirs.
fn template_digest(daemon_set: &DaemonSet, rejected: &[RejectedObject]) -> Option<String> {
    let template = &daemon_set.spec.as_ref()?.template;
    let labels = template.metadata.as_ref()?.labels.as_ref()?;
    labels.get(TEMPLATE).filter(|_| rejected.iter().all(|object| object.field != RUNTIME)).cloned()
}

/// Reports a failed reconcile. The last plan stays active.
pub(super) async fn report_error(stack: &ObservabilityStack, error: &StackError, context: &Context) {
    let reason = if error.is_denied() { Reason::AccessDenied } else { Reason::ProgressingWithRetry };
    let (key, message) = (ResourceKey::from(&stack.source()), error_chain(error));
    // The index ignores errors of unknown resources, so a stack that was never planned is reported first.
    if context.plan.borrow().is_none() {
        let input = status_input(stack, Vec::new(), Requested::Nothing);
        context.report(ControllerReport::Resource(Box::new(input))).await;
    }
    let generation = stack.source().generation;
    context.report(ControllerReport::ReconcileFailed { key, generation, reason, message }).await;
}
