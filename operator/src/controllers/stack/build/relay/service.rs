//! The Services of the relay: the one by which the API server reaches it, and the one that Hubble's clients look for.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use trilobite_crds::read_api::{HUBBLE_PEER, HUBBLE_RELAY, HUBBLE_SERVICE_PORTS, RELAY, SERVICE_PORT};

use super::deployment::{HTTPS, HUBBLE, HUBBLE_TLS};
use crate::{
    controllers::stack::validate::ValidatedStack,
    labels::{agent_selector, relay_metadata, relay_selector},
};

pub(super) fn build_service(validated: &ValidatedStack) -> Service {
    service(validated, RELAY, &[(HTTPS, SERVICE_PORT)])
}

/// `hubble --port-forward` and `kubectl port-forward svc/hubble-relay 4245:80` take the first port, behind which the relay listens
/// at its pod's loopback: nothing but a port-forward gets an answer there.
pub(super) fn build_hubble_service(validated: &ValidatedStack) -> Service {
    let (plain, tls) = HUBBLE_SERVICE_PORTS;
    service(validated, HUBBLE_RELAY, &[(HUBBLE, plain), (HUBBLE_TLS, tls)])
}

/// By which an unmodified hubble-relay finds an agent, which names the others.
pub(super) fn build_peer_service(validated: &ValidatedStack, agent_port: u16) -> Service {
    let mut service = service(validated, HUBBLE_PEER, &[(HUBBLE_TLS, SERVICE_PORT)]);
    if let Some(spec) = &mut service.spec {
        spec.selector = Some(agent_selector());
        for port in spec.ports.iter_mut().flatten() {
            port.target_port = Some(IntOrString::Int(agent_port.into()));
        }
    }
    service
}

/// Each port leads to the container's port of the same name.
fn service(validated: &ValidatedStack, name: &str, ports: &[(&str, i32)]) -> Service {
    let port = |(name, port): &(&str, i32)| ServicePort {
        name: Some((*name).into()),
        port: *port,
        target_port: Some(IntOrString::String((*name).into())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    };
    Service {
        metadata: relay_metadata(name, Some(&validated.namespace), &validated.owner),
        spec: Some(ServiceSpec {
            ip_family_policy: Some("PreferDualStack".into()),
            selector: Some(relay_selector()),
            ports: Some(ports.iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
