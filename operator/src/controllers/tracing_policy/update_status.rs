//! Tells the index what a policy asks. No request here.

use super::{super::asked, validate::Valid};
use crate::{
    context::Context,
    status::{Asked, Report, Reported, Wanted},
};

pub(super) async fn report(policy: &impl Reported, valid: Valid, context: &Context) {
    let said = match valid {
        Valid::Refused(refusals) => asked(policy, refusals, Wanted::Nothing),
        Valid::Suspended => Asked { suspended: true, ..asked(policy, Vec::new(), Wanted::Nothing) },
        Valid::NotYet => asked(policy, Vec::new(), Wanted::Nothing),
        Valid::Planned { profile, digest } => asked(policy, Vec::new(), Wanted::Part { profile, digest }),
    };
    context.report(Report::Asked(Box::new(said))).await;
}
