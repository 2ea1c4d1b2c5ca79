//! One controller per kind. Here: how each of them is run, counted and tried again.

pub(crate) mod app_profile;
pub(crate) mod bounded;
pub(crate) mod flow_capture;
pub(crate) mod namespace_label;
pub(crate) mod stack;
#[cfg(test)]
mod tests;
pub(crate) mod tracing_policy;

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
    core::error_boundary::InvalidObject,
    runtime::{
        Config, Controller,
        controller::{self, Action},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trilobite_crds::{Reason, Refusal, UserKind, node::Source};

use crate::{
    context::Context,
    status::{Asked, Reported, Wanted, Written, words},
};

/// How long a reconcile that failed waits before it is tried again.
const RETRY: Duration = Duration::from_secs(3);

/// An error that knows its word for metrics and Events.
pub(crate) trait Category: std::error::Error + Send + 'static {
    /// One word in PascalCase.
    fn category(&self) -> &'static str;
}

/// Opened once every first list has been read. Before that nothing is judged: a policy that is not listed yet would be
/// planned away, a session whose resource is not listed yet would be taken.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Receiver<bool>);

impl Gate {
    /// A gate, and what opens it.
    pub(crate) fn new() -> (Self, watch::Sender<bool>) {
        let (open, opened) = watch::channel(false);
        (Self(opened), open)
    }

    /// Returns whether it was opened; false when `stop` came first.
    async fn passed(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            opened = self.0.wait_for(|open| *open) => opened.is_ok(),
            () = stop.cancelled() => false,
        }
    }
}

/// Runs one controller until `stop`; what is under way is finished.
pub(crate) async fn run<K, E, F>(
    name: &'static str,
    controller: Controller<K>,
    context: Arc<Context>,
    gate: Gate,
    stop: CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + 'static,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Default + Unpin,
    E: Category,
    F: Future<Output = Result<Action, E>> + Send + 'static,
{
    // One at a time for each object, eight in all; changes that come together are one reconcile.
    let config = Config::default().concurrency(8).debounce(Duration::from_millis(20));
    controller
        .with_config(config)
        .trigger_backoff(trilobite_patience::of_a_controller())
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            move |object, context: Arc<Context>| {
                let (reconcile, mut gate, stop) = (reconcile.clone(), gate.clone(), stop.clone());
                async move {
                    if !gate.passed(&stop).await {
                        return Ok(Action::await_change());
                    }
                    let began = Instant::now();
                    let result = reconcile(object, context.clone()).await;
                    context.metrics.reconciled(name, began.elapsed(), result.as_ref().err().map(Category::category));
                    result
                }
            },
            |_, _, _| Action::requeue(RETRY),
            context,
        )
        .for_each(|result| {
            match result {
                Ok(_) => {}
                // It was deleted between its trigger and its turn.
                Err(controller::Error::ObjectNotFound(_)) => {}
                Err(controller::Error::ReconcilerFailed(error, object)) => {
                    tracing::warn!(controller = name, %object, error = chain(&error), "a reconcile failed; it will be tried again");
                }
                Err(error) => tracing::warn!(controller = name, %error, "a controller's queue"),
            }
            std::future::ready(())
        })
        .await;
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // Some errors repeat their cause in their own words.
        if !text.ends_with(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    text
}

/// What is asked by an object that the API server has and this version cannot read.
fn unreadable<K: UserKind>(object: &InvalidObject) -> Asked {
    let meta = &object.metadata;
    let source = Source {
        kind: K::SOURCE_KIND,
        namespace: meta.namespace.clone(),
        name: meta.name.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(1),
    };
    let refusal = Refusal::new(&source, Reason::InvalidSpec, "spec", words::unreadable(&object.error));
    Asked {
        uid: meta.uid.clone().unwrap_or_default(),
        standing: Written::default(),
        refusals: vec![refusal],
        suspended: false,
        wanted: Wanted::Nothing,
        source,
    }
}

/// What an object asks for whose spec says all that there is to say.
fn asked<K: Reported>(object: &K, refusals: Vec<Refusal>, wanted: Wanted) -> Asked {
    Asked {
        source: object.source(),
        uid: object.meta().uid.clone().unwrap_or_default(),
        standing: object.written(),
        refusals,
        suspended: false,
        wanted,
    }
}
