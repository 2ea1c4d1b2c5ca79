//! The relay's Deployment. Its pods have no privilege: no capability, no root, no volume but their token.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Affinity, Capabilities, Container, ContainerPort, HTTPGetAction, PodAffinityTerm, PodAntiAffinity,
            PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecurityContext, Toleration,
            TopologySpreadConstraint, WeightedPodAffinityTerm,
        },
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::core::ObjectMeta;
use trilobite_crds::{
    read_api::{RELAY, RELAY_HTTPS_PORT, RELAY_HUBBLE_PORT, RELAY_HUBBLE_TLS_PORT, RELAY_METRICS_PORT},
    stack::DEFAULT_RELAY_REQUESTS,
};

use crate::{
    controllers::stack::{
        build::pod::{field_of_pod, resource_requirements},
        validate::{ValidatedRelay, ValidatedStack},
    },
    labels::{operator_selector, relay_metadata, relay_selector},
    stack_nodes::on_linux,
};

/// Names of the ports of the aggregated API, and of Hubble's without and with TLS.
pub(super) const HTTPS: &str = "https";
pub(super) const HUBBLE: &str = "hubble";
pub(super) const HUBBLE_TLS: &str = "hubble-tls";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Taints of a node that has failed, and how long the relay waits there: Kubernetes' default is five minutes, in which there
/// is no read API.
const FAILED_NODE: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const FAILED_NODE_SECONDS: i64 = 30;

pub(super) fn build_deployment(validated: &ValidatedStack, relay: &ValidatedRelay) -> Deployment {
    let metadata = relay_metadata(RELAY, Some(&validated.namespace), &validated.owner);
    Deployment {
        spec: Some(DeploymentSpec {
            replicas: Some(relay.spec.replicas),
            selector: selector(),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                // A new version serves before the old one ends, so that the APIService stays.
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: metadata.labels.clone(), ..ObjectMeta::default() }),
                spec: Some(pod_spec(relay)),
            },
            revision_history_limit: Some(3),
            ..DeploymentSpec::default()
        }),
        metadata,
        status: None,
    }
}

pub(super) fn selector() -> LabelSelector {
    LabelSelector { match_labels: Some(relay_selector()), match_expressions: None }
}

fn pod_spec(relay: &ValidatedRelay) -> PodSpec {
    PodSpec {
        service_account_name: Some(RELAY.into()),
        // As the operator: without a relay its APIService goes, and clients get errors.
        priority_class_name: Some("system-cluster-critical".into()),
        node_selector: Some(on_linux(&relay.spec.node_selector)),
        tolerations: Some(tolerations(relay)),
        affinity: Some(away_from_the_operator()),
        topology_spread_constraints: (relay.spec.replicas > 1).then(|| {
            vec![TopologySpreadConstraint {
                max_skew: 1,
                topology_key: HOSTNAME.into(),
                when_unsatisfiable: "ScheduleAnyway".into(),
                label_selector: Some(selector()),
                ..TopologySpreadConstraint::default()
            }]
        }),
        termination_grace_period_seconds: Some(15),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(65532),
            run_as_group: Some(65532),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(relay)],
        ..PodSpec::default()
    }
}

fn tolerations(relay: &ValidatedRelay) -> Vec<Toleration> {
    let mut tolerations: Vec<Toleration> = relay.spec.tolerations.iter().map(Into::into).collect();
    for key in FAILED_NODE {
        if tolerations.iter().all(|listed| listed.key.as_deref().is_some_and(|listed| listed != key)) {
            tolerations.push(Toleration {
                key: Some(key.into()),
                operator: Some("Exists".into()),
                effect: Some("NoExecute".into()),
                toleration_seconds: Some(FAILED_NODE_SECONDS),
                ..Toleration::default()
            });
        }
    }
    tolerations
}

/// Where there is another node: when both fail together, no operator withdraws the APIService.
fn away_from_the_operator() -> Affinity {
    let operator = LabelSelector { match_labels: Some(operator_selector()), match_expressions: None };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: PodAffinityTerm {
                    label_selector: Some(operator),
                    topology_key: HOSTNAME.into(),
                    ..PodAffinityTerm::default()
                },
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn container(relay: &ValidatedRelay) -> Container {
    let args = [
        ("--listen", format!("[::]:{RELAY_HTTPS_PORT}")),
        ("--metrics-listen", format!("[::]:{RELAY_METRICS_PORT}")),
        ("--hubble-listen", format!("127.0.0.1:{RELAY_HUBBLE_PORT}")),
        ("--hubble-tls-listen", format!("[::]:{RELAY_HUBBLE_TLS_PORT}")),
        ("--agent-port", relay.agent_port.to_string()),
    ];
    Container {
        name: "relay".into(),
        image: Some(relay.image.clone()),
        command: Some(vec!["/trilobite-relay".into()]),
        args: Some(args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()),
        env: Some(vec![field_of_pod("POD_NAMESPACE", "metadata.namespace")]),
        ports: Some(vec![
            port(HTTPS, RELAY_HTTPS_PORT),
            port("metrics", RELAY_METRICS_PORT),
            port(HUBBLE, RELAY_HUBBLE_PORT),
            port(HUBBLE_TLS, RELAY_HUBBLE_TLS_PORT),
        ]),
        // Frequent, so that an APIService is neither missing nor dead for longer than it has to be.
        readiness_probe: Some(probe("/readyz", 2, 2)),
        liveness_probe: Some(probe("/livez", 20, 3)),
        resources: Some(resource_requirements(relay.spec.resources.as_ref(), DEFAULT_RELAY_REQUESTS)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String(HTTPS.into()),
            scheme: Some("HTTPS".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
