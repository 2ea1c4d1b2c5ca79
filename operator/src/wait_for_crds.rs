//! Waits until the CRDs are established: an operator that is installed before its CRDs logs which ones are missing and
//! starts by itself once they exist.

use std::time::Duration;

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

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Returns true when every CRD is Established, false if `stop` comes first.
pub(crate) async fn wait_for_crds(client: &Client, stop: &CancellationToken) -> bool {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut logged = String::new();
    loop {
        let missing = missing_crds(&definitions).await;
        if missing.is_empty() {
            return true;
        }
        let missing = missing.join(", ");
        if missing != logged {
            tracing::info!(%missing, "waiting for CRDs; install them with: kubectl apply -k config/crd");
            logged = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => return false,
        }
    }
}

async fn missing_crds(definitions: &Api<CustomResourceDefinition>) -> Vec<String> {
    let established = conditions::is_crd_established();
    let mut missing = Vec::new();
    for name in crd_names() {
        match definitions.get_opt(&name).await {
            Ok(definition) if established.matches_object(definition.as_ref()) => {}
            Ok(_) => missing.push(name),
            Err(error) => missing.push(format!("{name} ({error})")),
        }
    }
    missing
}

fn crd_names() -> Vec<String> {
    fn name<K: Resource<DynamicType = ()>>() -> String {
        format!("{}.{}", K::plural(&()), K::group(&()))
    }
    vec![
        name::<ObservabilityStack>(),
        name::<TracingPolicy>(),
        name::<TracingPolicyNamespaced>(),
        name::<FlowCapture>(),
        name::<AppProfile>(),
        name::<ProfilePart>(),
        name::<NodeProfile>(),
        name::<NodeRuntime>(),
    ]
}
