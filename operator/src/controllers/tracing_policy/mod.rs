//! TracingPolicy and TracingPolicyNamespaced: dereference -> validate -> update_status.
//! There is nothing to build or to apply: what policies ask is planned together, and only the stack writes children.

mod dereference;
mod update_status;
mod validate;

use std::{convert::Infallible, sync::Arc};

use kube::runtime::controller::Action;

use super::{Category, unreadable};
use crate::{
    context::Context,
    status::{Report, Reported},
    watch::{Guarded, readable},
};

impl Category for Infallible {
    fn category(&self) -> &'static str {
        match *self {}
    }
}

pub(crate) async fn reconcile<K: Reported + Clone>(
    policy: Arc<Guarded<K>>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    match readable(&policy) {
        Err(invalid) => {
            context.metrics.malformed("TracingPolicy");
            context.report(Report::Asked(Box::new(unreadable::<K>(invalid)))).await;
        }
        Ok(policy) => {
            let found = dereference::run(&context);
            let valid = validate::run(policy, &found);
            update_status::report(policy, valid, &context).await;
        }
    }
    Ok(Action::await_change())
}
