//! A namespace's label -> AppProfile `from-label`: dereference -> validate -> build -> apply -> update_status.
//! The status of a namespace is not ours, so the last phase is an Event, and only where something is wrong.

mod apply;
mod build;
mod dereference;
mod update_status;
mod validate;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{ResourceExt as _, core::PartialObjectMeta, runtime::controller::Action};

pub(crate) use apply::Error;
pub(crate) use update_status::Told;

use super::Category;
use crate::context::Context;

/// The label; its values are joined by dots.
pub(crate) const LABEL: &str = "trilobite.dev/app-profile";
/// The AppProfile that is made from it.
const NAME: &str = "from-label";

impl Category for Error {
    fn category(&self) -> &'static str {
        Error::category(self)
    }
}

pub(crate) async fn reconcile(
    namespace: Arc<PartialObjectMeta<Namespace>>,
    context: Arc<Context>,
    told: Told,
) -> Result<Action, Error> {
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let found = dereference::run(&namespace, &context);
    let valid = validate::run(namespace.labels().get(LABEL).map(String::as_str), &found);
    let wanted = build::run(&namespace, &valid, &found);
    apply::run(wanted, &context.client).await?;
    update_status::report(&namespace, &valid, &told, &context).await;
    Ok(Action::await_change())
}
