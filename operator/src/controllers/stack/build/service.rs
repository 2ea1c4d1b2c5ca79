//! The headless Service of the agents' metrics, while the stack enables metrics.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::controllers::stack::validate::ValidatedStack;
use crate::labels::{agent_metadata, agent_selector};

pub(super) fn build_service(validated: &ValidatedStack) -> Option<Service> {
    let port = validated.metrics.enabled.then_some(validated.metrics.port)?;
    Some(Service {
        metadata: agent_metadata(&validated.namespace, &validated.owner),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            ip_family_policy: Some("PreferDualStack".into()),
            selector: Some(agent_selector()),
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
