//! ObservabilityStack: dereference -> validate -> build -> apply -> update_status.
//! The first and the fourth talk to the API server; what lies between is pure. Nobody else writes children.

mod apply;
mod build;
mod dereference;
mod update_status;
mod validate;

use std::{sync::Arc, time::Duration};

use kube::runtime::controller::Action;
use trilobite_crds::ObservabilityStack;

use super::{Category, unreadable};
use crate::{
    context::Context,
    status::Report,
    watch::{Guarded, readable},
};

/// Nodes are told in steps of this length.
const STEP: Duration = Duration::from_secs(1);

/// What can go wrong, phase by phase.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Dereference(#[from] dereference::Error),
    #[error(transparent)]
    Apply(#[from] apply::Error),
}

impl Category for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Dereference(error) => error.category(),
            Self::Apply(error) => error.category(),
        }
    }
}

pub(crate) async fn reconcile(stack: Arc<Guarded<ObservabilityStack>>, context: Arc<Context>) -> Result<Action, Error> {
    let stack = match readable(&stack) {
        Ok(stack) => stack,
        Err(invalid) => {
            context.metrics.malformed("ObservabilityStack");
            context.report(Report::Asked(Box::new(unreadable::<ObservabilityStack>(invalid)))).await;
            return Ok(Action::await_change());
        }
    };
    if stack.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    match phases(stack, &context).await {
        Ok(rest) => Ok(rest),
        Err(error) => {
            update_status::failed(stack, &error, &context).await;
            Err(error)
        }
    }
}

async fn phases(stack: &ObservabilityStack, context: &Context) -> Result<Action, Error> {
    let found = dereference::run(stack, context).await?;
    let valid = validate::run(stack, &found, &context.arguments);
    let wanted = build::run(&valid, &found);
    let rest = wanted.rest();
    // Policies and the index look parts up from here on; pointers move after that.
    let applied = apply::run(wanted, &context.client).await?;
    context.metrics.pointed(applied.moved());
    update_status::report(stack, &valid, &found, &applied, context).await;
    Ok(if rest > 0 { Action::requeue(STEP) } else { Action::await_change() })
}
