//! A namespace's label -> AppProfile `from-label`: dereference -> validate -> build -> apply -> update_status.
//! The operator does not write the status of a namespace, so the last phase publishes an Event if the label is wrong.

mod apply;
mod build;
mod dereference;
mod label_value;
mod update_status;
mod validate;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{ResourceExt as _, core::PartialObjectMeta, runtime::controller::Action};

pub(crate) use self::{apply::FromLabelError, update_status::PublishedNotes};
use self::{apply::apply, build::build, dereference::dereference, update_status::update_status, validate::validate};
use crate::{context::Context, labels::APP_PROFILE_LABEL};

pub(crate) async fn reconcile(
    namespace: Arc<PartialObjectMeta<Namespace>>,
    context: Arc<Context>,
    published: PublishedNotes,
) -> Result<Action, FromLabelError> {
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let dereferenced = dereference(&namespace, &context);
    let validated = validate(namespace.labels().get(APP_PROFILE_LABEL).map(String::as_str), &dereferenced);
    let change = build(&namespace, &validated, &dereferenced);
    apply(change, &context.client).await?;
    update_status(&namespace, &validated, &published, &context).await;
    Ok(Action::await_change())
}
