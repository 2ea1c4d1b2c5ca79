//! When the objects of a relay exist, and when the API server is told about it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::Deployment, apimachinery::pkg::util::intstr::IntOrString,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    certificate_authority::HubbleRelayCertificate,
    context::Withdrawal,
    controllers::stack::{
        build::{Garbage, RelayGarbage},
        dereference::DereferencedStack,
        fixtures::{build_objects, nodes, report_ready, roll_out, store_objects, validated},
        validate::relay_state,
    },
    labels::owner_reference,
    status::RelayState,
};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn deployment(available: i32) -> Deployment {
    serde_json::from_value(json!({"metadata": {"name": "trilobite-relay"}, "status": {"availableReplicas": available}}))
        .unwrap()
}

/// Two nodes, and a relay with this number of available replicas.
fn with_relay(available: i32) -> DereferencedStack {
    let mut cluster = nodes(2);
    cluster.relay.now = now();
    cluster.relay.deployment = Some(deployment(available));
    (cluster.relay.has_service, cluster.relay.has_hubble_service) = (true, true);
    cluster.relay.installation =
        Some(owner_reference("rbac.authorization.k8s.io/v1", "ClusterRole", "ink-operator", "uid-of-role", false));
    cluster
}

/// The APIService as the API server has it.
fn api_service(available: &str) -> APIService {
    serde_json::from_value(json!({
        "metadata": {"name": "v1alpha1.read.trilobite.dev"},
        "status": {"conditions": [{"type": "Available", "status": available, "reason": "FailedDiscoveryCheck",
            "message": "no route to host"}]},
    }))
    .unwrap()
}

fn is_wanted(spec: &str, cluster: &DereferencedStack) -> bool {
    build_objects(spec, cluster).relay.is_some()
}

const NO_LAYER: &str = "{security: {mode: OnDemand}}";

#[test]
fn relay_on_demand_needs_a_layer_or_a_reader() {
    let mut cluster = nodes(1);
    assert!(is_wanted("{}", &cluster), "the security layer is Enabled by default");
    assert!(is_wanted("{security: {mode: Disabled}, network: {mode: Enabled}}", &cluster));
    assert!(!is_wanted(NO_LAYER, &cluster));
    assert!(is_wanted("{security: {mode: OnDemand}, relay: {mode: Enabled}}", &cluster));
    cluster.relay.has_readers = true;
    assert!(is_wanted(NO_LAYER, &cluster));
    assert!(!is_wanted("{relay: {mode: Disabled}}", &cluster));
}

#[test]
fn suspended_stack_has_no_relay_and_unregisters_it() {
    let mut cluster = with_relay(1);
    cluster.relay.api_service = Some(api_service("True"));
    cluster.relay.has_disruption_budget = true;
    (cluster.relay.has_peer_service, cluster.relay.has_hubble_relay_secret) = (true, true);
    for spec in ["{suspend: true}", "{suspend: true, relay: {mode: Enabled}}", "{relay: {mode: Disabled}}", NO_LAYER] {
        let objects = build_objects(spec, &cluster);
        assert!(objects.relay.is_none(), "{spec}");
        let all = RelayGarbage {
            api_service: true,
            deployment: true,
            disruption_budget: true,
            service: true,
            hubble_service: true,
            peer_service: true,
            hubble_relay_secret: true,
        };
        assert_eq!(objects.garbage.relay, all, "{spec}");
    }
}

#[test]
fn namespace_that_ends_takes_the_relay_with_it() {
    let mut cluster = with_relay(1);
    cluster.relay.api_service = Some(api_service("True"));
    cluster.relay.namespace_ends = true;
    let objects = build_objects("{relay: {mode: Enabled}}", &cluster);
    assert!(objects.relay.is_none() && objects.garbage.relay.api_service);
}

#[test]
fn api_service_exists_while_a_replica_is_available() {
    let registered = |available| build_objects("{}", &with_relay(available)).relay.unwrap().api_service;
    assert!(registered(0).is_none());
    let service = registered(1).unwrap();
    assert_eq!(service.owner_references()[0].kind, "ClusterRole", "so that it goes with the chart");
    let spec = service.spec.unwrap();
    assert_eq!(spec.insecure_skip_tls_verify, None);
    let bundle = String::from_utf8(spec.ca_bundle.unwrap().0).unwrap();
    assert!(bundle.starts_with("-----BEGIN CERTIFICATE-----"), "{bundle}");
    let mut gone = with_relay(0);
    gone.relay.api_service = Some(api_service("True"));
    assert!(build_objects("{}", &gone).garbage.relay.api_service, "no replica is left");
}

#[test]
fn api_service_without_the_chart_is_owned_by_the_stack() {
    let mut cluster = with_relay(1);
    cluster.relay.installation = None;
    let service = build_objects("{}", &cluster).relay.unwrap().api_service.unwrap();
    assert_eq!(service.owner_references()[0].kind, "ObservabilityStack");
}

#[test]
fn relay_that_the_api_server_cannot_reach_is_withdrawn() {
    let mut cluster = with_relay(1);
    cluster.relay.api_service = Some(api_service("False"));
    cluster.relay.unreachable_since = Some(now() - SignedDuration::from_secs(19));
    assert!(build_objects("{}", &cluster).relay.unwrap().api_service.is_some(), "it may just have started");
    cluster.relay.unreachable_since = Some(now() - SignedDuration::from_secs(20));
    let objects = build_objects("{}", &cluster);
    assert!(objects.relay.unwrap().api_service.is_none() && objects.garbage.relay.api_service);
    let state = relay_state(&validated("{}", &cluster).relay, &cluster.relay);
    assert_eq!(state, RelayState::Unreachable { why: "no route to host".into() });
}

#[test]
fn withdrawn_relay_is_tried_again_after_minutes() {
    let mut cluster = with_relay(1);
    let registered = |cluster: &DereferencedStack| build_objects("{}", cluster).relay.unwrap().api_service.is_some();
    let withdrawn = |minutes| Withdrawal { at: now() - SignedDuration::from_mins(minutes), why: "no route".into() };
    cluster.relay.withdrawal = Some(withdrawn(4));
    assert!(!registered(&cluster));
    let state = relay_state(&validated("{}", &cluster).relay, &cluster.relay);
    assert_eq!(state, RelayState::Unreachable { why: "no route".into() });
    cluster.relay.withdrawal = Some(withdrawn(5));
    assert!(registered(&cluster));
}

#[test]
fn authority_is_written_once_and_kept() {
    let mut cluster = with_relay(0);
    let first = build_objects("{}", &cluster).relay.unwrap();
    let secret = first.secret.expect("there was none");
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    cluster.relay.authority = Some(first.authority);
    cluster.relay.authority_owner = Some("uid-of-an-earlier-stack".into());
    let adopted = build_objects("{}", &cluster).relay.unwrap().secret.expect("or it is deleted with the earlier stack");
    assert_eq!(adopted.data, secret.data);
    cluster.relay.authority_owner = Some("uid-of-the-stack".into());
    let second = build_objects("{}", &cluster).relay.unwrap();
    assert!(second.secret.is_none());
    assert_eq!(second.bundle, first.bundle);
    assert!(!second.bundle.data.unwrap()["ca.crt"].contains("PRIVATE KEY"));
}

#[test]
fn objects_of_the_relay_are_owned_by_the_stack() {
    let relay = build_objects("{}", &with_relay(1)).relay.unwrap();
    let secret = relay.secret.unwrap();
    for owners in [
        relay.deployment.owner_references(),
        relay.service.owner_references(),
        relay.hubble_service.owner_references(),
        relay.bundle.owner_references(),
        secret.owner_references(),
    ] {
        assert_eq!((owners.len(), owners[0].uid.as_str()), (1, "uid-of-the-stack"));
    }
}

#[test]
fn unmodified_relay_of_hubble_gets_a_certificate_that_is_renewed() {
    const SPEC: &str = "{relay: {hubbleRelay: Enabled}, network: {listen: ':14244'}}";
    let mut cluster = with_relay(1);
    assert!(build_objects("{}", &cluster).relay.unwrap().hubble_relay.is_none());
    let first = build_objects(SPEC, &cluster).relay.unwrap();
    let objects = first.hubble_relay.unwrap();
    let port = objects.peer_service.spec.unwrap().ports.unwrap()[0].clone();
    assert_eq!((port.port, port.target_port), (443, Some(IntOrString::Int(14244))));
    let data = objects.secret.expect("there was none").data.unwrap();
    assert_eq!(data["ca.crt"].0, first.bundle.data.unwrap()["ca.crt"].clone().into_bytes());
    let (_, pem) = x509_parser::pem::parse_x509_pem(&data["tls.crt"].0).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    assert_eq!(names, [x509_parser::prelude::GeneralName::DNSName("hubble-relay")]);

    cluster.relay.authority = Some(first.authority);
    cluster.relay.has_hubble_relay_secret = true;
    cluster.relay.hubble_relay_certificate = Some(HubbleRelayCertificate::read(&data).unwrap());
    let is_renewed = |cluster: &DereferencedStack| {
        let objects = build_objects(SPEC, cluster);
        assert!(!objects.garbage.relay.hubble_relay_secret);
        objects.relay.unwrap().hubble_relay.unwrap().secret.is_some()
    };
    assert!(!is_renewed(&cluster));
    cluster.relay.now = now() + SignedDuration::from_hours(15);
    assert!(!is_renewed(&cluster));
    cluster.relay.now = now() + SignedDuration::from_hours(17);
    assert!(is_renewed(&cluster));
    cluster.relay.now = now();
    cluster.relay.authority = None;
    assert!(is_renewed(&cluster), "of another CA");
    assert!(build_objects("{}", &cluster).garbage.relay.hubble_relay_secret);
}

#[test]
fn services_lead_to_ports_that_the_container_has() {
    let relay = build_objects("{}", &with_relay(1)).relay.unwrap();
    let container = relay.deployment.spec.unwrap().template.spec.unwrap().containers.remove(0);
    let (args, ports) = (container.args.unwrap(), container.ports.unwrap());
    let mut leads = Vec::new();
    for service in [relay.service, relay.hubble_service] {
        for port in service.spec.unwrap().ports.unwrap() {
            let named = ports.iter().find(|one| one.name == port.name).unwrap();
            assert_eq!(port.target_port, Some(IntOrString::String(named.name.clone().unwrap())));
            leads.push((port.port, named.container_port));
        }
    }
    assert_eq!(leads, [(443, 8443), (80, 4245), (443, 4246)], "a port-forward takes the first one");
    let plain = args.iter().position(|argument| argument == "--hubble-listen").unwrap();
    assert_eq!(args[plain + 1], "127.0.0.1:4245", "no pod and no node may reach it");
}

#[test]
fn agents_open_their_port_while_a_relay_is_wanted() {
    let mut cluster = nodes(1);
    let address = |objects: &crate::controllers::stack::build::OwnedObjects<_>| {
        let runtime = objects.runtimes.iter().chain(&objects.port_changes).next()?;
        Some(runtime.spec.listen.clone().map(|listen| (listen.address, listen.relay_identity)))
    };
    let open = |address: &str| Some(Some((address.to_owned(), "trilobite-relay".to_owned())));
    assert_eq!(address(&build_objects("{}", &cluster)), open("[::]:4244"));
    roll_out(&mut cluster, "{}");
    assert_eq!(address(&build_objects("{}", &cluster)), None, "nothing to change");
    assert_eq!(address(&build_objects("{network: {listen: ':14244'}}", &cluster)), open("[::]:14244"));
    assert_eq!(address(&build_objects("{relay: {mode: Disabled}}", &cluster)), Some(None));
}

#[test]
fn halted_rollout_closes_ports_and_moves_no_pointer() {
    let mut cluster = nodes(40);
    roll_out(&mut cluster, "{}");
    let changed = "{network: {mode: Enabled}}";
    let first = build_objects(changed, &cluster);
    store_objects(&mut cluster, &first);
    report_ready(&mut cluster, "reef-000", false);
    report_ready(&mut cluster, "reef-001", false);
    cluster.tokens = 30;
    let halted = build_objects("{network: {mode: Enabled}, relay: {mode: Disabled}}", &cluster);
    assert_eq!((halted.runtimes.len(), halted.port_changes.len(), halted.remaining_nodes), (0, 30, 10));
    for runtime in &halted.port_changes {
        assert_eq!(runtime.spec.listen, None);
        assert_eq!(runtime.spec.profile_ref, cluster.runtimes[&runtime.name_any()].spec.profile_ref);
    }
}

#[test]
fn drains_evict_one_of_several_replicas_and_the_only_one() {
    let mut cluster = with_relay(2);
    let budget =
        |spec: &str, cluster: &DereferencedStack| build_objects(spec, cluster).relay.unwrap().disruption_budget;
    let spec = budget("{relay: {replicas: 2}}", &cluster).unwrap().spec.unwrap();
    assert_eq!(spec.max_unavailable, Some(IntOrString::Int(1)));
    assert_eq!(spec.selector.unwrap().match_labels.unwrap()["app.kubernetes.io/name"], "trilobite-relay");
    cluster.relay.has_disruption_budget = true;
    assert!(!build_objects("{relay: {replicas: 2}}", &cluster).garbage.relay.disruption_budget);
    assert!(budget("{}", &cluster).is_none() && build_objects("{}", &cluster).garbage.relay.disruption_budget);
}

#[test]
fn users_tolerations_of_failed_nodes_replace_ours() {
    let tolerations = |listed: &str| {
        let spec = format!("{{relay: {{tolerations: {listed}}}}}");
        let pod = build_objects(&spec, &nodes(0)).relay.unwrap().deployment.spec.unwrap().template.spec.unwrap();
        let tolerations = pod.tolerations.unwrap().into_iter();
        tolerations.map(|one| (one.key.unwrap_or_default(), one.toleration_seconds)).collect::<Vec<_>>()
    };
    let ours = |key: &str| (format!("node.kubernetes.io/{key}"), Some(30));
    assert_eq!(tolerations("[]"), [ours("not-ready"), ours("unreachable")]);
    let unreachable = "node.kubernetes.io/unreachable";
    let listed = tolerations(&format!("[{{key: {unreachable}, operator: Exists}}]"));
    assert_eq!(listed, [(unreachable.to_owned(), None), ours("not-ready")]);
    assert_eq!(tolerations("[{operator: Exists}]"), [(String::new(), None)], "every taint");
}

#[test]
fn container_listens_where_agents_are_told_to() {
    let args = |spec: &str| {
        let pod = build_objects(spec, &nodes(0)).relay.unwrap().deployment.spec.unwrap().template.spec.unwrap();
        pod.containers[0].args.clone().unwrap()
    };
    assert!(args("{}").ends_with(&["--agent-port".to_owned(), "4244".to_owned()]));
    assert!(args("{network: {listen: '[::]:14244'}}").ends_with(&["--agent-port".to_owned(), "14244".to_owned()]));
}

#[test]
fn nothing_of_the_relay_is_garbage_while_it_serves() {
    let mut cluster = with_relay(1);
    cluster.relay.api_service = Some(api_service("True"));
    assert_eq!(build_objects("{}", &cluster).garbage, Garbage::default());
}

#[test]
fn relay_deployment_matches_the_golden_file() {
    let spec = "{relay: {replicas: 2, nodeSelector: {reef: inner}, tolerations: [{key: team, value: ink}], resources: {limits: {memory: 48Mi}}}}";
    let built = serde_yaml::to_string(&build_objects(spec, &nodes(0)).relay.unwrap().deployment).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/relay_deployment.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &built).unwrap();
    }
    assert_eq!(built, std::fs::read_to_string(path).unwrap(), "UPDATE_GOLDEN=1 rewrites it; review the difference");
}
