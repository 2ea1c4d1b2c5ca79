//! Tells the index what a policy asks. No request here.

use trilobite_crds::{
    Reason,
    condition::{ConditionType, find},
};

use super::{super::asked, validate::Valid};
use crate::{
    context::Context,
    status::{Asked, Report, Reported, Wanted},
};

pub(super) async fn report(policy: &impl Reported, valid: Valid, context: &Context) {
    let said = match valid {
        Valid::Refused(refusals) => asked(policy, refusals, Wanted::Nothing),
        Valid::Suspended => Asked { suspended: true, ..asked(policy, Vec::new(), Wanted::Nothing) },
        // An operator that has just come has nothing to say that is newer than what stands.
        Valid::NotYet if was_planned(policy) => return,
        Valid::NotYet => asked(policy, Vec::new(), Wanted::Nothing),
        Valid::Planned { profile, digest } => asked(policy, Vec::new(), Wanted::Part { profile, digest }),
    };
    context.report(Report::Asked(Box::new(said))).await;
}

/// Whether its status says what a plan made of this generation.
fn was_planned(policy: &impl Reported) -> bool {
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
    fn only_what_a_plan_made_of_this_generation_stands_until_there_is_a_plan_again() {
        let said = |observed_generation, reason| {
            let accepted = Finding::new(ConditionType::Accepted, ConditionStatus::False, reason, "");
            let conditions = merge(&[], &[accepted], observed_generation, jiff::Timestamp::UNIX_EPOCH);
            let mut policy = TracingPolicy::default();
            policy.metadata.generation = Some(3);
            policy.status = Some(ResourceStatus { conditions, observed_generation, ..ResourceStatus::default() });
            was_planned(&policy)
        };
        assert!(said(3, Reason::Valid) && said(3, Reason::Unsupported));
        assert!(!said(2, Reason::Valid), "it was edited since");
        assert!(!said(3, Reason::NoStack), "now there is one");
        assert!(!was_planned(&TracingPolicy::default()));
    }
}
