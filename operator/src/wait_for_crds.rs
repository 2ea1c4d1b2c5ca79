//! Waits until the CRDs are established: an operator that is installed before its CRDs, or while they are being
//! deleted, says which ones it waits for and starts by itself once they exist. Later ones that go are noticed too.

use std::{fmt, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Resource,
    runtime::{conditions, wait::Condition as _},
};
use tokio_util::sync::CancellationToken;
use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, TracingPolicy, TracingPolicyNamespaced,
    node::{NodeProfile, NodeRuntime, ProfilePart},
};

use crate::{controllers::stack::release_deleted_stacks, http::Readiness, watch::Trigger};

/// How often absent CRDs are looked for.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often CRDs are looked for while the operator runs, if no watch fails.
const RUNNING_INTERVAL: Duration = Duration::from_secs(60);

/// Why a CRD cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unusable {
    Missing,
    /// It has a deletion time. It is still served, and what is applied to it is deleted with it.
    Terminating,
    NotEstablished,
    Unreadable(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::Terminating => f.write_str("is being deleted"),
            Self::NotEstablished => f.write_str("is not established yet"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// CRDs that cannot be used, by name.
type UnusableCrds = Vec<(String, Unusable)>;

/// Returns true when every CRD is usable, false if `stop` comes first. Says in the log and at /readyz what it waits for.
pub(crate) async fn wait_for_crds(
    client: &Client,
    namespace: &str,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> bool {
    let mut reported = UnusableCrds::new();
    loop {
        let unusable = check_crds(client).await;
        report(&unusable, &mut reported, readiness);
        if unusable.is_empty() {
            return true;
        }
        // The CRD of the stack waits for the stack, whose finalizer only an operator removes.
        if unusable.contains(&(crd_name::<ObservabilityStack>(), Unusable::Terminating))
            && let Err(error) = release_deleted_stacks(client, namespace).await
        {
            tracing::warn!(%error, "a stack could not be released; it will be retried");
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => return false,
        }
    }
}

/// Says which CRDs are gone while the operator runs, until `stop`. The watches start again by themselves once a CRD is
/// back.
pub(crate) async fn watch_crds(client: Client, readiness: Readiness, watch_failed: Trigger, stop: CancellationToken) {
    let mut failures = watch_failed.stream().boxed();
    let mut reported = UnusableCrds::new();
    loop {
        let interval = if reported.is_empty() { RUNNING_INTERVAL } else { POLL_INTERVAL };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
            // Not at once: many watches fail together.
            _ = failures.next() => tokio::time::sleep(POLL_INTERVAL).await,
        }
        report(&check_crds(&client).await, &mut reported, &readiness);
    }
}

/// Logs what has changed since the last report.
fn report(unusable: &[(String, Unusable)], reported: &mut UnusableCrds, readiness: &Readiness) {
    if unusable == reported.as_slice() {
        return;
    }
    let text = describe(unusable);
    if unusable.is_empty() {
        tracing::info!("all CRDs exist");
    } else {
        tracing::warn!("waiting for CRDs: {text}");
    }
    readiness.set_waiting_for((!unusable.is_empty()).then(|| format!("waiting for CRDs: {text}")));
    *reported = unusable.to_vec();
}

/// Each CRD with its state, and what to do.
fn describe(unusable: &[(String, Unusable)]) -> String {
    let states: Vec<String> = unusable.iter().map(|(name, state)| format!("{name} {state}")).collect();
    let is_any = |wanted: &Unusable| unusable.iter().any(|(_, state)| state == wanted);
    let next = if is_any(&Unusable::Terminating) {
        "; apply the CRDs again once those are gone: what is applied before goes with them"
    } else if is_any(&Unusable::Missing) {
        "; install them with: kubectl apply -k config/crd"
    } else {
        ""
    };
    format!("{}{next}", states.join(", "))
}

async fn check_crds(client: &Client) -> UnusableCrds {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut unusable = UnusableCrds::new();
    for name in crd_names() {
        let state = match definitions.get_opt(&name).await {
            Ok(definition) => usability(definition.as_ref()),
            Err(error) => Some(Unusable::Unreadable(error.to_string())),
        };
        unusable.extend(state.map(|state| (name, state)));
    }
    unusable
}

/// None if the CRD can be used. One that is being deleted is Established until it is gone.
fn usability(definition: Option<&CustomResourceDefinition>) -> Option<Unusable> {
    match definition {
        None => Some(Unusable::Missing),
        Some(definition) if definition.metadata.deletion_timestamp.is_some() => Some(Unusable::Terminating),
        established if conditions::is_crd_established().matches_object(established) => None,
        Some(_) => Some(Unusable::NotEstablished),
    }
}

fn crd_name<K: Resource<DynamicType = ()>>() -> String {
    format!("{}.{}", K::plural(&()), K::group(&()))
}

fn crd_names() -> Vec<String> {
    vec![
        crd_name::<ObservabilityStack>(),
        crd_name::<TracingPolicy>(),
        crd_name::<TracingPolicyNamespaced>(),
        crd_name::<FlowCapture>(),
        crd_name::<AppProfile>(),
        crd_name::<ProfilePart>(),
        crd_name::<NodeProfile>(),
        crd_name::<NodeRuntime>(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn crd(deletion: Option<&str>, established: &str) -> CustomResourceDefinition {
        serde_json::from_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "inks.example.dev", "deletionTimestamp": deletion},
            "spec": {"group": "example.dev", "names": {"kind": "Ink", "plural": "inks"}, "scope": "Cluster", "versions": []},
            "status": {"conditions": [{"type": "Established", "status": established}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_crd_that_is_being_deleted_is_not_usable() {
        assert_eq!(usability(Some(&crd(None, "True"))), None);
        assert_eq!(usability(Some(&crd(Some("2026-01-01T00:00:00Z"), "True"))), Some(Unusable::Terminating));
        assert_eq!(usability(Some(&crd(None, "False"))), Some(Unusable::NotEstablished));
        assert_eq!(usability(None), Some(Unusable::Missing));
    }

    #[test]
    fn the_text_names_each_crd_and_the_next_step() {
        let (inks, reefs) = ("inks.example.dev".to_owned(), "reefs.example.dev".to_owned());
        assert_eq!(
            describe(&[(inks.clone(), Unusable::Terminating), (reefs, Unusable::Missing)]),
            "inks.example.dev is being deleted, reefs.example.dev does not exist; apply the CRDs again once those are gone: \
             what is applied before goes with them"
        );
        assert!(describe(&[(inks, Unusable::Missing)]).ends_with("kubectl apply -k config/crd"));
    }

    #[test]
    fn readiness_follows_what_is_reported() {
        let (readiness, mut reported) = (Readiness::default(), UnusableCrds::new());
        readiness.set_synced();
        report(&[("inks.example.dev".into(), Unusable::Terminating)], &mut reported, &readiness);
        assert!(readiness.problem().unwrap().contains("inks.example.dev is being deleted"));
        report(&[], &mut reported, &readiness);
        assert_eq!(readiness.problem(), None);
    }
}
