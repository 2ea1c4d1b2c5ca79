//! Tells the index what a bounded resource asks. No request here.

use trilobite_crds::{
    Reason, Refusal,
    condition::{ConditionStatus, ConditionType, find},
};

use super::{
    super::{asked, chain},
    Bounded, Error,
    build::{Applied, Sessions},
    validate::Valid,
};
use crate::{
    context::Context,
    status::{Asked, Key, Report, SessionAsked, Wanted, words},
};

pub(super) async fn report<K: Bounded>(
    object: &K,
    valid: &Valid,
    applied: &Sessions<Applied>,
    errors: &[Error],
    context: &Context,
) {
    let source = object.source();
    let said = match valid {
        // What is over stays as it was written.
        Valid::Over => return,
        Valid::Unknowable => {
            // So does whatever was begun. What is new has to be told why it does not begin.
            if object.common_status().is_some_and(|status| status.observed_generation == source.generation) {
                return;
            }
            let refusal = Refusal::new(&source, Reason::NotAccepted, "", words::stack_unreadable());
            asked(object, vec![refusal], Wanted::Nothing)
        }
        // Nor does an operator that has just come say more than that, before it has found the pods.
        Valid::Running(..) if applied.nodes.is_none() && was_accepted(object) => return,
        Valid::Refused(refusal) => asked(object, vec![refusal.clone()], Wanted::Nothing),
        Valid::Suspended => Asked { suspended: true, ..asked(object, Vec::new(), Wanted::Nothing) },
        Valid::Starting(session, started_at)
        | Valid::Running(session, started_at)
        | Valid::Ending(session, started_at) => {
            let wanted = SessionAsked {
                name: session.name.clone(),
                started_at: *started_at,
                expires_at: session.expires_at,
                nodes: applied.nodes.clone(),
                full: applied.full.clone(),
                out_of_scope: applied.out_of_scope,
            };
            asked(object, Vec::new(), Wanted::Session(wanted))
        }
    };
    context.report(Report::Asked(Box::new(said))).await;
    if let Some(first) = errors.first() {
        let reason = if first.is_denied() { Reason::AccessDenied } else { Reason::ProgressingWithRetry };
        let message = words::and_more(&chain(first), errors.len() - 1);
        let (key, generation) = (Key::from(&source), source.generation);
        context.report(Report::Trouble { key, generation, reason, message }).await;
    }
}

/// Whether its status says that this generation can be carried out.
fn was_accepted<K: Bounded>(object: &K) -> bool {
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
    fn what_was_accepted_stands_while_its_pods_are_looked_for() {
        let mut profile =
            AppProfile::new("hot", serde_json::from_value(serde_json::json!({"podSelector": {}})).unwrap());
        profile.metadata.generation = Some(1);
        assert!(!was_accepted(&profile));
        let mut said = |status| {
            let accepted = Finding::new(ConditionType::Accepted, status, Reason::Valid, "");
            let common = &mut profile.status.get_or_insert_default().common;
            common.observed_generation = 1;
            common.conditions = merge(&[], &[accepted], 1, jiff::Timestamp::UNIX_EPOCH);
            was_accepted(&profile)
        };
        assert!(said(ConditionStatus::True) && !said(ConditionStatus::False));
    }
}
