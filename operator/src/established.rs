//! Waits until the API server serves our kinds, so that an operator that came before its CRDs says so and starts by itself.

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

const PAUSE: Duration = Duration::from_secs(1);

/// Names of all CRDs that the operator works with.
fn names() -> Vec<String> {
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

/// Returns true when every CRD is Established, false when asked to stop before that.
pub(crate) async fn wait(client: &Client, stop: &CancellationToken) -> bool {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut said = String::new();
    loop {
        let missing = missing(&definitions).await;
        if missing.is_empty() {
            return true;
        }
        let missing = missing.join(", ");
        if missing != said {
            tracing::info!(%missing, "waiting for CRDs; install them with: kubectl apply -k config/crd");
            said = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return false,
        }
    }
}

async fn missing(definitions: &Api<CustomResourceDefinition>) -> Vec<String> {
    let established = conditions::is_crd_established();
    let mut missing = Vec::new();
    for name in names() {
        match definitions.get_opt(&name).await {
            Ok(definition) if established.matches_object(definition.as_ref()) => {}
            Ok(_) => missing.push(name),
            Err(error) => missing.push(format!("{name} ({error})")),
        }
    }
    missing
}
