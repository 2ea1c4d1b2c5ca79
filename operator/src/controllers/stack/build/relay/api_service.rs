//! The APIService `v1alpha1.read.trilobite.dev`. One that does not answer harms the whole cluster, so it exists only while
//! the relay does. It is owned by the operator's ClusterRole: if the chart is uninstalled before the stack is deleted, no
//! operator is there to remove it, and the garbage collector does.

use k8s_openapi::{
    ByteString,
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec, ServiceReference},
};
use trilobite_crds::read_api::{API_SERVICE, GROUP, RELAY, SERVICE_PORT, VERSION};

use crate::{
    certificate_authority::StoredAuthority, controllers::stack::validate::ValidatedStack, labels::relay_metadata,
};

pub(super) fn build_api_service(
    validated: &ValidatedStack,
    installation: Option<&OwnerReference>,
    authority: &StoredAuthority,
) -> APIService {
    APIService {
        metadata: relay_metadata(API_SERVICE, None, installation.unwrap_or(&validated.owner)),
        spec: Some(APIServiceSpec {
            group: Some(GROUP.into()),
            version: Some(VERSION.into()),
            // After every group of Kubernetes and the CRDs, whose groups have 1000.
            group_priority_minimum: 100,
            version_priority: 10,
            service: Some(ServiceReference {
                name: Some(RELAY.into()),
                namespace: Some(validated.namespace.clone()),
                port: Some(SERVICE_PORT),
            }),
            ca_bundle: Some(ByteString(authority.bundle().into_bytes())),
            insecure_skip_tls_verify: None,
        }),
        status: None,
    }
}
