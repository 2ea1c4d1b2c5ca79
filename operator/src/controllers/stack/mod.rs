//! ObservabilityStack: dereference -> validate -> build -> apply -> update_status. Only dereference and apply send
//! requests; the phases between are pure. No other controller creates objects for nodes.

mod apply;
mod build;
mod delete;
mod dereference;
mod error;
#[cfg(test)]
mod fixtures;
mod teardown;
mod update_status;
mod validate;
mod withdraw;

use std::{sync::Arc, time::Duration};

use kube::{
    Api,
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::{
        controller::Action,
        finalizer::{self, Event, finalizer},
    },
};
use trilobite_crds::{ObservabilityStack, UserKind as _};

use self::{
    apply::apply,
    build::build,
    dereference::dereference,
    error::StackError,
    teardown::{FINALIZER, tear_down, tear_down_unreadable},
    update_status::{announce_profile, report_error, update_status},
    validate::{recheck_after, validate},
    withdraw::{withdraw_unanswered, withdraw_with_namespace},
};
pub(crate) use self::{
    teardown::{TeardownError, release_deleted_stacks, unregister},
    withdraw::withdraw_while_waiting,
};
use super::{error_chain::error_chain, status_input::report_unreadable};
use crate::{context::Context, resource_key::ResourceKey, status::ControllerReport};

/// Delay between the steps of a rollout.
const ROLLOUT_STEP: Duration = Duration::from_secs(1);

/// Delay before an object that Kubernetes rejected is applied again.
const RETRY_REJECTED: Duration = Duration::from_secs(60);

pub(crate) async fn reconcile(
    stack: Arc<DeserializeGuard<ObservabilityStack>>,
    context: Arc<Context>,
) -> Result<Action, StackError> {
    withdraw_with_namespace(&context).await?;
    let stack = match &stack.0 {
        Ok(stack) => Arc::new(stack.clone()),
        Err(invalid) => return reconcile_unreadable(invalid, &context).await,
    };
    let result = reconcile_readable(stack, context.clone()).await;
    if result.is_err() {
        // The failed reconcile is retried in any case.
        let _ = withdraw_unanswered(&context).await;
    }
    result
}

async fn reconcile_readable(stack: Arc<ObservabilityStack>, context: Arc<Context>) -> Result<Action, StackError> {
    let stacks: Api<ObservabilityStack> = Api::all(context.client.clone());
    match finalizer(&stacks, FINALIZER, stack, |event| apply_or_tear_down(event, context.clone())).await {
        Ok(action) => Ok(action),
        Err(finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error)) => Err(error),
        // The cached object is outdated; the event with the newer one triggers the next reconcile.
        Err(
            finalizer::Error::AddFinalizer(kube::Error::Api(status))
            | finalizer::Error::RemoveFinalizer(kube::Error::Api(status)),
        ) if matches!(status.code, 404 | 409 | 422) => Ok(requeue_after(withdraw_unanswered(&context).await)),
        Err(other) => Err(StackError::Finalizer(error_chain(&other))),
    }
}

fn requeue_after(recheck: Option<Duration>) -> Action {
    recheck.map_or_else(Action::await_change, Action::requeue)
}

async fn reconcile_unreadable(invalid: &InvalidObject, context: &Context) -> Result<Action, StackError> {
    report_unreadable::<ObservabilityStack>(invalid, "ObservabilityStack", context).await;
    let recheck = withdraw_unanswered(context).await;
    if invalid.metadata.deletion_timestamp.is_some() {
        tear_down_unreadable(&context.client, &context.arguments.namespace, &invalid.metadata).await?;
    }
    Ok(requeue_after(recheck))
}

async fn apply_or_tear_down(event: Event<ObservabilityStack>, context: Arc<Context>) -> Result<Action, StackError> {
    match event {
        Event::Apply(stack) => match reconcile_phases(&stack, &context).await {
            Ok(action) => Ok(action),
            Err(error) => {
                report_error(&stack, &error, &context).await;
                Err(error)
            }
        },
        Event::Cleanup(stack) => {
            context.report(ControllerReport::Deleting(ResourceKey::from(&stack.source()))).await;
            tear_down(&context.client, &context.arguments.namespace).await?;
            Ok(Action::await_change())
        }
    }
}

async fn reconcile_phases(stack: &ObservabilityStack, context: &Context) -> Result<Action, StackError> {
    let dereferenced = dereference(context).await?;
    let validated = validate(stack, &dereferenced, &context.arguments);
    let objects = build(&validated, &dereferenced)?;
    context.rollout_limiter.consume(objects.runtimes.len() + objects.port_changes.len());
    announce_profile(stack, &validated, context).await;
    let (applied, rejected) = apply(objects, &context.client).await?;
    update_status(stack, &validated, &dereferenced, &applied, &rejected, context).await;
    let relay_recheck = recheck_after(&validated.relay, &dereferenced.relay);
    Ok(match (applied.remaining_nodes, rejected.is_empty(), relay_recheck) {
        (1.., _, _) => Action::requeue(ROLLOUT_STEP),
        (0, _, Some(recheck)) => Action::requeue(recheck),
        // The cause may be an object that is not watched, e.g. a LimitRange of the namespace.
        (0, false, None) => Action::requeue(RETRY_REJECTED),
        (0, true, None) => Action::await_change(),
    })
}
