//! ObservabilityStack: dereference -> validate -> build -> apply -> update_status.
//! The first and the fourth talk to the API server; what lies between is pure. Nobody else writes children.

mod apply;
#[cfg(test)]
mod apply_tests;
mod build;
mod dereference;
mod pace;
mod teardown;
mod update_status;
mod validate;
#[cfg(test)]
mod world_of_tests;

use std::{sync::Arc, time::Duration};

use kube::{
    Api,
    runtime::{
        controller::Action,
        finalizer::{self, Event, finalizer},
    },
};
use trilobite_crds::{ObservabilityStack, UserKind as _};

pub(crate) use pace::Pace;

use super::{Category, unreadable};
use crate::{
    context::Context,
    status::{Key, Report},
    watch::{Guarded, readable},
};

/// Nodes are told in steps of this length.
const STEP: Duration = Duration::from_secs(1);

/// What Kubernetes refused is tried again after this.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What can go wrong, phase by phase.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Dereference(#[from] dereference::Error),
    #[error(transparent)]
    Apply(#[from] apply::Error),
    #[error(transparent)]
    Teardown(#[from] teardown::Error),
    #[error("holding or releasing the stack: {0}")]
    Finalizer(String),
}

impl Category for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Dereference(error) => error.category(),
            Self::Apply(error) => error.category(),
            Self::Teardown(_) => "Teardown",
            Self::Finalizer(_) => "Finalizer",
        }
    }
}

impl Error {
    /// Whether the API server denies what was being done.
    fn is_denied(&self) -> bool {
        let cause = match self {
            Self::Dereference(error) => error.cause(),
            Self::Apply(error) => error.cause(),
            Self::Teardown(_) | Self::Finalizer(_) => return false,
        };
        matches!(cause, kube::Error::Api(status) if status.code == 403)
    }
}

pub(crate) async fn reconcile(stack: Arc<Guarded<ObservabilityStack>>, context: Arc<Context>) -> Result<Action, Error> {
    let stack = match readable(&stack) {
        Ok(stack) => Arc::new(stack.clone()),
        Err(invalid) => {
            context.metrics.malformed("ObservabilityStack");
            context.report(Report::Asked(Box::new(unreadable::<ObservabilityStack>(invalid)))).await;
            if invalid.metadata.deletion_timestamp.is_some() {
                teardown::unreadable(&context.client, &context.arguments.namespace, &invalid.metadata).await?;
            }
            return Ok(Action::await_change());
        }
    };
    let stacks: Api<ObservabilityStack> = Api::all(context.client.clone());
    let held = finalizer(&stacks, teardown::FINALIZER, stack, |event| live(event, context)).await;
    match held {
        Ok(next) => Ok(next),
        Err(finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error)) => Err(error),
        // What was read is older than what is there; the newer one is on its way.
        Err(
            finalizer::Error::AddFinalizer(kube::Error::Api(status))
            | finalizer::Error::RemoveFinalizer(kube::Error::Api(status)),
        ) if matches!(status.code, 404 | 409 | 422) => Ok(Action::await_change()),
        Err(other) => Err(Error::Finalizer(super::chain(&other))),
    }
}

async fn live(event: Event<ObservabilityStack>, context: Arc<Context>) -> Result<Action, Error> {
    match event {
        Event::Apply(stack) => match phases(&stack, &context).await {
            Ok(next) => Ok(next),
            Err(error) => {
                update_status::failed(&stack, &error, &context).await;
                Err(error)
            }
        },
        Event::Cleanup(stack) => {
            context.report(Report::Leaving(Key::from(&stack.source()))).await;
            teardown::run(&context.client, &context.arguments.namespace).await?;
            Ok(Action::await_change())
        }
    }
}

async fn phases(stack: &ObservabilityStack, context: &Context) -> Result<Action, Error> {
    let found = dereference::run(context).await?;
    let valid = validate::run(stack, &found, &context.arguments);
    let wanted = build::run(&valid, &found);
    context.pace.spend(wanted.told.len());
    let (applied, not_taken) = apply::run(wanted, &context.client).await?;
    update_status::report(stack, &valid, &found, &applied, &not_taken, context).await;
    Ok(match (applied.left, not_taken.is_empty()) {
        (1.., _) => Action::requeue(STEP),
        // What Kubernetes refuses may hang on other objects too, as a namespace's LimitRange.
        (0, false) => Action::requeue(ASK_AGAIN),
        (0, true) => Action::await_change(),
    })
}
