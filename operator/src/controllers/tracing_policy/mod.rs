//! TracingPolicy and TracingPolicyNamespaced: dereference -> validate -> update_status.
//! There is no build and no apply: all policies are planned together, and only the stack's controller creates objects.

mod dereference;
mod update_status;
mod validate;

use std::{convert::Infallible, sync::Arc};

use kube::{core::DeserializeGuard, runtime::controller::Action};

use self::{dereference::dereference, update_status::update_status, validate::validate};
use super::{runner::ReconcileError, status_input::report_unreadable};
use crate::{context::Context, status::UserResource};

impl ReconcileError for Infallible {
    fn reason(&self) -> &'static str {
        match *self {}
    }
}

pub(crate) async fn reconcile<K: UserResource + Clone>(
    policy: Arc<DeserializeGuard<K>>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    let policy = match &policy.0 {
        Ok(policy) => policy,
        Err(invalid) => return Ok(report_unreadable::<K>(invalid, "TracingPolicy", &context).await),
    };
    let dereferenced = dereference(&context);
    let validated = validate(policy, &dereferenced);
    update_status(policy, validated, &context).await;
    Ok(Action::await_change())
}
