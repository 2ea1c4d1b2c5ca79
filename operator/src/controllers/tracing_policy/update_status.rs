//! Reports a policy to the index. Sends no request.

use trilobite_crds::{
    Reason,
    condition::{ConditionType, find},
};

use super::validate::ValidatedPolicy;
use crate::{
    context::Context,
    controllers::status_input::{status_input, status_read},
    status::{ControllerReport, Requested, StatusInput, UserResource},
};

pub(super) async fn update_status(policy: &impl UserResource, validated: ValidatedPolicy, context: &Context) {
    let input = match validated {
        ValidatedPolicy::Refused(refusals) => status_input(policy, refusals, Requested::Nothing),
        ValidatedPolicy::Suspended => {
            StatusInput { suspended: true, ..status_input(policy, Vec::new(), Requested::Nothing) }
        }
        // After a restart of the operator, the status of the previous one is still right.
        ValidatedPolicy::NotPlanned if has_planned_status(policy) => {
            return context.report(status_read(policy)).await;
        }
        ValidatedPolicy::NotPlanned => status_input(policy, Vec::new(), Requested::Nothing),
        ValidatedPolicy::Planned { profile, digest, out_of_scope, dry_run } => {
            status_input(policy, Vec::new(), Requested::Part { profile, digest, out_of_scope, dry_run })
        }
    };
    context.report(ControllerReport::Resource(Box::new(input))).await;
}

/// Whether the status was computed from a plan that contains this generation.
fn has_planned_status(policy: &impl UserResource) -> bool {
    policy.common_status().is_some_and(|status| {
        let accepted = find(&status.conditions, ConditionType::Accepted);
        status.observed_generation == policy.source().generation
            && accepted.is_some_and(|accepted| accepted.reason != Reason::NoStack.as_str())
    })
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{
        ResourceStatus, TracingPolicy,
        condition::{ConditionStatus, Finding, merge},
    };

    use super::*;

    #[test]
    fn only_a_planned_status_of_this_generation_is_kept() {
        let with_status = |observed_generation, reason| {
            let accepted = Finding::new(ConditionType::Accepted, ConditionStatus::False, reason, "");
            let conditions = merge(&[], &[accepted], observed_generation, jiff::Timestamp::UNIX_EPOCH);
            let mut policy = TracingPolicy::default();
            policy.metadata.generation = Some(3);
            policy.status = Some(ResourceStatus { conditions, observed_generation, ..ResourceStatus::default() });
            has_planned_status(&policy)
        };
        assert!(with_status(3, Reason::Valid) && with_status(3, Reason::Unsupported));
        assert!(!with_status(2, Reason::Valid), "it was edited since");
        assert!(!with_status(3, Reason::NoStack), "now there is a stack");
        assert!(!has_planned_status(&TracingPolicy::default()));
    }
}
