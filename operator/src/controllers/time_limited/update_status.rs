//! Reports a time-limited resource to the index. Sends no request.

use trilobite_crds::{
    Reason, Refusal,
    condition::{ConditionStatus, ConditionType, find},
};

use super::{apply::SessionError, build::Sessions, resource::TimeLimited, validate::ValidatedResource};
use crate::{
    context::Context,
    controllers::{
        error_chain::error_chain,
        phase::Applied,
        status_input::{status_input, status_read},
    },
    resource_key::ResourceKey,
    status::{ControllerReport, Requested, SessionRequest, StatusInput, messages},
};

pub(super) async fn update_status<K: TimeLimited>(
    object: &K,
    validated: &ValidatedResource,
    applied: &Sessions<Applied>,
    errors: &[SessionError],
    context: &Context,
) {
    let source = object.source();
    let Some(input) = input(object, validated, applied) else {
        return context.report(status_read(object)).await;
    };
    context.report(ControllerReport::Resource(Box::new(input))).await;
    if let Some(first) = errors.first() {
        let reason = if first.is_denied() { Reason::AccessDenied } else { Reason::ProgressingWithRetry };
        let message = messages::and_more(&error_chain(first), errors.len() - 1);
        let (key, generation) = (ResourceKey::from(&source), source.generation);
        context.report(ControllerReport::ReconcileFailed { key, generation, reason, message }).await;
    }
}

/// None if the status stays as it was computed last.
fn input<K: TimeLimited>(
    object: &K,
    validated: &ValidatedResource,
    applied: &Sessions<Applied>,
) -> Option<StatusInput> {
    let source = object.source();
    match validated {
        ValidatedResource::Completed(_) => None,
        ValidatedResource::StackUnreadable => {
            // A resource that has a status keeps it. A new one is told why it does not start.
            if object.common_status().is_some_and(|status| status.observed_generation == source.generation) {
                return None;
            }
            let refusal = Refusal::new(&source, Reason::NotAccepted, "", messages::stack_unreadable());
            Some(status_input(object, vec![refusal], Requested::Nothing))
        }
        // After a restart of the operator, until the pods are listed.
        ValidatedResource::Running(..) if applied.nodes.is_none() && was_accepted(object) => None,
        ValidatedResource::Refused(refusal) => Some(status_input(object, vec![refusal.clone()], Requested::Nothing)),
        ValidatedResource::Suspended => {
            Some(StatusInput { suspended: true, ..status_input(object, Vec::new(), Requested::Nothing) })
        }
        ValidatedResource::Starting(session, started_at)
        | ValidatedResource::Running(session, started_at)
        | ValidatedResource::Ending(session, started_at) => {
            let profile = session.content.app_profile();
            let request = SessionRequest {
                name: session.name.clone(),
                started_at: *started_at,
                expires_at: session.expires_at,
                nodes: applied.nodes.clone(),
                full_nodes: applied.full_nodes.clone(),
                out_of_scope: applied.out_of_scope,
                samples_cpu: profile.as_ref().is_some_and(|profile| profile.cpu.is_some()),
                requests: profile.and_then(|profile| profile.requests),
            };
            Some(status_input(object, Vec::new(), Requested::Session(request)))
        }
    }
}

/// Whether the status says that this generation is accepted.
fn was_accepted<K: TimeLimited>(object: &K) -> bool {
    object.common_status().is_some_and(|status| {
        let accepted = find(&status.conditions, ConditionType::Accepted);
        status.observed_generation == object.source().generation
            && accepted.is_some_and(|accepted| accepted.status == ConditionStatus::True)
    })
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{
        AppProfile,
        condition::{Finding, merge},
    };

    use super::*;

    #[test]
    fn only_an_accepted_status_is_kept_while_pods_are_listed() {
        let mut profile =
            AppProfile::new("hot", serde_json::from_value(serde_json::json!({"podSelector": {}})).unwrap());
        profile.metadata.generation = Some(1);
        assert!(!was_accepted(&profile));
        let mut with_status = |status| {
            let accepted = Finding::new(ConditionType::Accepted, status, Reason::Valid, "");
            let common = &mut profile.status.get_or_insert_default().common;
            common.observed_generation = 1;
            common.conditions = merge(&[], &[accepted], 1, jiff::Timestamp::UNIX_EPOCH);
            was_accepted(&profile)
        };
        assert!(with_status(ConditionStatus::True) && !with_status(ConditionStatus::False));
    }
}
