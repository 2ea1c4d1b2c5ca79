//! Tells the index what a bounded resource asks. No request here.

use super::{
    super::asked,
    Bounded,
    build::{Applied, Sessions},
    validate::Valid,
};
use crate::{
    context::Context,
    status::{Asked, Report, SessionAsked, Wanted},
};

pub(super) async fn report<K: Bounded>(object: &K, valid: &Valid, applied: &Sessions<Applied>, context: &Context) {
    let said = match valid {
        // What is over stays as it was written.
        Valid::Over => return,
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
            };
            asked(object, Vec::new(), Wanted::Session(wanted))
        }
    };
    context.report(Report::Asked(Box::new(said))).await;
}
