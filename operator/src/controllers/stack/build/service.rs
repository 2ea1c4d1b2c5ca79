//! The headless Service of the agents' metrics, while the stack enables any.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::controllers::stack::validate::ValidatedStack;
use crate::labels::{agent_metadata, agent_selector};

pub(super) fn build_service(validated: &ValidatedStack) -> Option<Service> {
    let ports = ports(validated);
    (!ports.is_empty()).then(|| Service {
        metadata: agent_metadata(&validated.namespace, &validated.owner),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            ip_family_policy: Some("PreferDualStack".into()),
            selector: Some(agent_selector()),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// Whether the stack asks for metrics of the agents or of flows.
pub(super) fn wants_service(validated: &ValidatedStack) -> bool {
    !ports(validated).is_empty()
}

fn ports(validated: &ValidatedStack) -> Vec<ServicePort> {
    let of_agents = validated.metrics.enabled.then_some(validated.metrics.port);
    // No port of the container: with one, a node where another program has it could not run the agent.
    let all = [("metrics", of_agents), ("hubble-metrics", validated.flow_metrics_port)];
    let ports = all.into_iter().filter_map(|(name, port)| {
        Some(ServicePort {
            name: Some(name.into()),
            port: port?,
            target_port: port.map(IntOrString::Int),
            protocol: Some("TCP".into()),
            ..ServicePort::default()
        })
    });
    ports.collect()
}
