//! The agents' metrics, found by name: a headless Service, while the stack wants metrics.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::super::validate::Valid;
use crate::children;

pub(super) fn build(valid: &Valid) -> Option<Service> {
    let port = valid.metrics.enabled.then_some(valid.metrics.port)?;
    Some(Service {
        metadata: children::of_agents(&valid.namespace, &valid.owner),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            ip_family_policy: Some("PreferDualStack".into()),
            selector: Some(children::selector()),
            ports: Some(vec![ServicePort {
                name: Some("metrics".into()),
                port,
                target_port: Some(IntOrString::Int(port)),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}
