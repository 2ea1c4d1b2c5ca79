//! How each controller is run: gated until the caches have synced, counted, and retried after errors.

use std::{
    fmt::Debug,
    future::Future,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use kube::{
    Resource,
    runtime::{
        Config, Controller,
        controller::{self, Action},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error_chain::error_chain;
use crate::context::Context;

/// Delay before a failed reconcile is retried.
const RETRY: Duration = Duration::from_secs(3);
/// Every object is reconciled again after about this time, for changes that no watch reports.
const RESYNC: Duration = Duration::from_secs(600);

/// An error with a reason for metrics.
pub(crate) trait ReconcileError: std::error::Error + Send + 'static {
    /// One word in PascalCase.
    fn reason(&self) -> &'static str;
}

/// Opens once every cache has synced. A reconcile before that would plan away a policy, or remove a session, whose
/// object is not listed yet.
#[derive(Clone, Debug)]
pub(crate) struct ReadyGate(watch::Receiver<bool>);

impl ReadyGate {
    /// The gate, and the sender that opens it.
    pub(crate) fn new() -> (Self, watch::Sender<bool>) {
        let (open, opened) = watch::channel(false);
        (Self(opened), open)
    }

    /// Returns true once the gate is open, false if `stop` comes first.
    async fn wait_until_open(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            opened = self.0.wait_for(|open| *open) => opened.is_ok(),
            () = stop.cancelled() => false,
        }
    }
}

/// Runs one controller until `stop`; running reconciles are finished.
pub(crate) async fn run_controller<K, E, F>(
    name: &'static str,
    controller: Controller<K>,
    context: Arc<Context>,
    gate: ReadyGate,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + 'static,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Default + Unpin,
    E: ReconcileError,
    F: Future<Output = Result<Action, E>> + Send + 'static,
{
    // One reconcile at a time per object, eight in all; triggers within the debounce become one reconcile.
    let config = Config::default().concurrency(8).debounce(Duration::from_millis(20));
    controller
        .with_config(config)
        .trigger_backoff(trilobite_backoff::controller_backoff())
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            move |object, context: Arc<Context>| {
                let (reconcile, mut gate, stop) = (reconcile.clone(), gate.clone(), stop.clone());
                async move {
                    if !gate.wait_until_open(&stop).await {
                        return Ok(Action::await_change());
                    }
                    let start = Instant::now();
                    let result = reconcile(object, context.clone()).await;
                    let reason = result.as_ref().err().map(ReconcileError::reason);
                    context.metrics.record_reconcile(name, start.elapsed(), reason);
                    result.map(with_resync)
                }
            },
            |_, _, _| Action::requeue(RETRY),
            context,
        )
        .for_each(|result| {
            match result {
                Ok(_) => {}
                // The object was deleted after it was queued.
                Err(controller::Error::ObjectNotFound(_)) => {}
                Err(controller::Error::ReconcilerFailed(error, object)) => {
                    tracing::warn!(controller = name, %object, error = error_chain(&error), "a reconcile failed; it will be retried");
                }
                Err(error) => tracing::warn!(controller = name, %error, "the queue of a controller failed"),
            }
            std::future::ready(())
        })
        .await;
}

/// An action that would wait for a change waits for the resync at most.
fn with_resync(action: Action) -> Action {
    if action == Action::await_change() { Action::requeue(trilobite_backoff::with_jitter(RESYNC)) } else { action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_action_without_a_time_gets_the_resync() {
        let soon = Action::requeue(Duration::from_secs(5));
        assert_eq!(with_resync(soon.clone()), soon);
        assert_ne!(with_resync(Action::await_change()), Action::await_change());
    }
}
