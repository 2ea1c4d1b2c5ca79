//! The Service by which the API server reaches the relay.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use trilobite_crds::read_api::{RELAY, SERVICE_PORT};

use super::deployment::HTTPS;
use crate::{
    controllers::stack::validate::ValidatedStack,
    labels::{relay_metadata, relay_selector},
};

pub(super) fn build_service(validated: &ValidatedStack) -> Service {
    Service {
        metadata: relay_metadata(RELAY, Some(&validated.namespace), &validated.owner),
        spec: Some(ServiceSpec {
            ip_family_policy: Some("PreferDualStack".into()),
            selector: Some(relay_selector()),
            ports: Some(vec![ServicePort {
                name: Some(HTTPS.into()),
                port: SERVICE_PORT,
                target_port: Some(IntOrString::String(HTTPS.into())),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
