//! FlowCapture and AppProfile: dereference -> validate -> build -> apply -> update_status, once for both kinds.
//! A resource becomes a session on the nodes that run a matching pod, and on no other node.

mod apply;
mod build;
mod dereference;
mod expire;
mod resource;
pub(crate) mod session_patch;
#[cfg(test)]
mod tests;
mod update_status;
mod validate;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{core::DeserializeGuard, runtime::controller::Action};
use trilobite_crds::Reason;

pub(crate) use self::{apply::SessionError, resource::TimeLimited};
use self::{
    apply::apply,
    build::build,
    dereference::{DereferencedResource, dereference},
    expire::{delete, deletion_time},
    update_status::update_status,
    validate::{ValidatedResource, validate},
};
use super::status_input::report_unreadable;
use crate::{context::Context, start_times::StartTimes};

pub(crate) async fn reconcile<K: TimeLimited>(
    object: Arc<DeserializeGuard<K>>,
    context: Arc<Context>,
) -> Result<Action, SessionError> {
    let object = match &object.0 {
        Ok(object) => object,
        Err(invalid) => return Ok(report_unreadable::<K>(invalid, "Bounded", &context).await),
    };
    let dereferenced = dereference(object, &context);
    let validated = validate(object, &dereferenced, Timestamp::now());
    let sessions = build(object, &validated, &dereferenced);
    let uid = object.meta().uid.clone().unwrap_or_default();
    record_start(&context.starts, &uid, &validated);
    let (applied, errors) = apply(sessions, &uid, &context.client).await;
    update_status(object, &validated, &applied, &errors, &context).await;
    // The status contains all errors; returning the first one makes the controller retry.
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let (deletion, now) = (deletion_time(object), Timestamp::now());
    if deletion.is_some_and(|time| time <= now) {
        return delete(object, &context.client).await;
    }
    Ok(next_reconcile(&validated, &dereferenced, deletion, now))
}

fn record_start(starts: &StartTimes, uid: &str, validated: &ValidatedResource) {
    match validated {
        ValidatedResource::Starting(_, start)
        | ValidatedResource::Running(_, start)
        | ValidatedResource::Ending(_, start) => starts.record(uid, *start),
        ValidatedResource::Completed(_) => starts.forget(uid),
        ValidatedResource::Refused(_) | ValidatedResource::Suspended | ValidatedResource::StackUnreadable => {}
    }
}

/// How often a resource above the budget of its namespace looks whether others have ended.
const BUDGET_RETRY: Duration = Duration::from_secs(5);

/// A session ends on time even if its pods are never listed, and rows and the object leave when it is their time; otherwise
/// changes of pods and nodes trigger the next reconcile.
fn next_reconcile(
    validated: &ValidatedResource,
    dereferenced: &DereferencedResource,
    deletion: Option<Timestamp>,
    now: Timestamp,
) -> Action {
    let due = match validated {
        ValidatedResource::Running(session, _) if dereferenced.pods.is_none() => Some(session.expires_at),
        ValidatedResource::Completed(Some(session)) => Some(session.retained_until()),
        ValidatedResource::Refused(refusal) if refusal.reason == Reason::NamespaceBudgetExceeded => {
            now.checked_add(BUDGET_RETRY).ok()
        }
        _ => None,
    };
    let until = |time: Timestamp| Action::requeue(time.duration_since(now).try_into().unwrap_or_default());
    due.into_iter().chain(deletion).min().map_or_else(Action::await_change, until)
}
