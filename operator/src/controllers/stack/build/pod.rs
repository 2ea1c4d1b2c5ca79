//! What the pods of agents and of the relay are built from alike.

use k8s_openapi::{
    api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use trilobite_crds::stack::Resources;

/// The stack's resources, and `requests` for what it says nothing about: a container without a request gets no CPU on a
/// busy node. Kubernetes takes a limit without a request as the request.
pub(super) fn resource_requirements(
    resources: Option<&Resources>,
    requests: [(&str, &str); 2],
) -> ResourceRequirements {
    let mut requirements: ResourceRequirements = resources.map(Into::into).unwrap_or_default();
    for (name, quantity) in requests {
        if requirements.limits.as_ref().is_none_or(|limits| !limits.contains_key(name)) {
            let requests = requirements.requests.get_or_insert_default();
            requests.entry(name.into()).or_insert_with(|| Quantity(quantity.into()));
        }
    }
    requirements
}

/// An environment variable with the value of a field of the pod.
pub(super) fn field_of_pod(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.into(), api_version: None }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}
