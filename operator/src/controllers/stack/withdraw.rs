//! Withdraws the APIService where the phases cannot. One that does not answer delays every client's discovery and the
//! deletion of every namespace, so it must go although the stack is invalid or the operator's rights are gone.

use std::{convert::Infallible, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use tokio::time::sleep;
use trilobite_crds::read_api::RELAY;

use super::{
    dereference::{available_replicas, dereference_registration},
    teardown::{TeardownError, unregister},
};
use crate::context::{Context, Withdrawal};

/// When to look again at an APIService that the API server cannot reach.
const RECHECK: Duration = Duration::from_secs(5);

/// Before the controllers run, which may wait for ever for a CRD or a right: the APIService goes with the last replica.
pub(crate) async fn withdraw_while_waiting(client: &Client, namespace: &str) -> Infallible {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    loop {
        match deployments.get_opt(RELAY).await {
            Ok(deployment) if available_replicas(deployment.as_ref()) > 0 => {}
            Ok(_) => {
                if let Err(error) = unregister(client).await {
                    tracing::warn!(%error, "no relay is available; it will be retried");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot get the relay's Deployment; it will be retried"),
        }
        sleep(RECHECK).await;
    }
}

/// Before all phases: the operator's Role ends with its namespace, and then no phase succeeds.
pub(super) async fn withdraw_with_namespace(context: &Context) -> Result<(), TeardownError> {
    if context.namespace_ends() {
        unregister(&context.client).await?;
    }
    Ok(())
}

/// In place of the phases, when they fail or the stack cannot be read: the APIService stays while a replica is available
/// that the API server reaches. Returns when to check again.
pub(super) async fn withdraw_unanswered(context: &Context) -> Option<Duration> {
    let (relay, deployment_read) = match dereference_registration(context).await {
        Ok(registration) => registration,
        Err(error) => {
            tracing::warn!(%error, "whether the relay answers is unknown; it will be checked again");
            return Some(RECHECK);
        }
    };
    relay.api_service.as_ref()?;
    let unreachable = relay.unreachable_for(context.arguments.relay_grace_seconds);
    // A Deployment that cannot be read may have replicas: the API server's word decides.
    let has_replica = deployment_read.is_err() || relay.available() > 0;
    if has_replica && unreachable.is_none() {
        return relay.unreachable().map(|_| RECHECK);
    }
    if let Some(condition) = unreachable {
        *context.withdrawal.lock() = Some(Withdrawal::new(condition, relay.now));
    }
    match unregister(&context.client).await {
        Ok(()) => {
            tracing::warn!("no relay answers: its APIService is withdrawn");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "the APIService of a relay that does not answer stays; it will be retried");
            Some(RECHECK)
        }
    }
}
