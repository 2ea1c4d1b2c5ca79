//! FlowCapture and AppProfile: dereference -> validate -> build -> apply -> update_status, once for both.
//! What they ask becomes a session on the nodes that run a matching pod, and on no other.

mod apply;
mod build;
mod dereference;
pub(crate) mod session_patch;
#[cfg(test)]
mod tests;
mod update_status;
mod validate;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::runtime::controller::Action;
use trilobite_crds::{ObservabilityStack, Refusal, node::Session};

use self::{dereference::Found, validate::Valid};
use super::{Category, unreadable};
use crate::{
    context::Context,
    status::{Report, Reported},
    watch::{Guarded, readable},
};

/// A kind whose work ends by itself.
pub(crate) trait Bounded: Reported + Clone {
    /// Which pods, within its namespace.
    fn pod_selector(&self) -> &LabelSelector;
    /// What a node is asked, if the stack and the spec allow it.
    fn session(&self, stack: &ObservabilityStack, started_at: Timestamp) -> Result<Session, Refusal>;
}

pub(crate) use apply::Error;

impl Category for Error {
    fn category(&self) -> &'static str {
        Error::category(self)
    }
}

pub(crate) async fn reconcile<K: Bounded>(object: Arc<Guarded<K>>, context: Arc<Context>) -> Result<Action, Error> {
    let object = match readable(&object) {
        Ok(object) => object,
        Err(invalid) => {
            context.metrics.malformed("Bounded");
            context.report(Report::Asked(Box::new(unreadable::<K>(invalid)))).await;
            return Ok(Action::await_change());
        }
    };
    let found = dereference::run(object, &context);
    let valid = validate::run(object, &found, Timestamp::now());
    let wanted = build::run(object, &valid, &found);
    let uid = object.meta().uid.clone().unwrap_or_default();
    let (applied, errors) = apply::run(wanted, &uid, &context.client).await;
    update_status::report(object, &valid, &applied, &errors, &context).await;
    // All of them are in the status; the first one names what is tried again.
    errors.into_iter().next().map_or_else(|| Ok(next(&valid, &found, Timestamp::now())), Err)
}

/// Its end comes although its pods may never be found.
fn next(valid: &Valid, found: &Found, now: Timestamp) -> Action {
    match valid {
        Valid::Running(session, _) if found.pods.is_none() => {
            Action::requeue(session.expires_at.duration_since(now).try_into().unwrap_or_default())
        }
        _ => Action::await_change(),
    }
}
