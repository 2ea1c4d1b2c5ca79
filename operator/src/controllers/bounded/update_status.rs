//! Tells the index what a bounded resource asks. No request here.

use trilobite_crds::{Reason, Refusal};

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
