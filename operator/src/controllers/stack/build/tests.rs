//! What is built from a stack, without an API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;
use trilobite_crds::node::NodeRuntime;

use crate::controllers::stack::dereference::DereferencedStack;
use crate::controllers::stack::fixtures::{
    build_objects, nodes, report_ready, roll_out, set_spec_written_at, start_deleting, store_objects,
};
use crate::status::Rollout;

#[test]
fn objects_are_owned_by_the_stack_and_node_runtimes_by_their_nodes() {
    let objects = build_objects("{security: {mode: Enabled}, metrics: {enabled: true}}", &nodes(1));
    let owner = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        (owners[0].kind.clone(), owners[0].uid.clone(), owners[0].block_owner_deletion)
    };
    let stack = ("ObservabilityStack".to_owned(), "uid-of-the-stack".to_owned(), None);
    assert_eq!(owner(objects.daemon_set.owner_references()), stack);
    assert_eq!(owner(objects.config_map.owner_references()), stack);
    assert_eq!(owner(objects.service.as_ref().unwrap().owner_references()), stack);
    assert_eq!(owner(objects.profile.owner_references()), stack);
    assert_eq!(owner(objects.parts[0].owner_references()), stack);
    assert_eq!(owner(objects.runtimes[0].owner_references()), ("Node".into(), "uid-of-reef-000".into(), None));
}

#[test]
fn node_runtimes_have_the_labels_that_policies_select_nodes_by() {
    let mut cluster = nodes(2);
    let label = |cluster: &mut DereferencedStack, value: &str| {
        let node = Arc::make_mut(&mut cluster.nodes[1]);
        node.metadata.labels.get_or_insert_default().insert("disk".into(), value.into());
    };
    label(&mut cluster, "ssd");
    let without = build_objects("{security: {mode: Enabled}}", &cluster);
    assert!(without.runtimes.iter().all(|runtime| runtime.spec.node_labels.is_empty()), "no policy asks for one");
    let selector =
        serde_json::json!({"matchLabels": {"disk": "ssd"}, "matchExpressions": [{"key": "gpu", "operator": "Exists"}]});
    cluster.policies[0].spec.node_selector = serde_json::from_value(selector).unwrap();
    roll_out(&mut cluster, "{security: {mode: Enabled}}");
    let labels = |runtime: &NodeRuntime| runtime.spec.node_labels.clone();
    let ssd = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    assert_eq!(labels(&cluster.runtimes["reef-000"]), BTreeMap::new());
    assert_eq!(labels(&cluster.runtimes["reef-001"]), ssd);
    label(&mut cluster, "tape");
    let changed = build_objects("{security: {mode: Enabled}}", &cluster);
    let changes: Vec<_> = changed.port_changes.iter().map(|runtime| (runtime.name_any(), labels(runtime))).collect();
    assert_eq!(changes, [("reef-001".to_owned(), BTreeMap::from([("disk".to_owned(), "tape".to_owned())]))]);
}

#[test]
fn nodes_are_updated_in_steps() {
    let mut cluster = nodes(25);
    let first = build_objects("{}", &cluster);
    assert_eq!((first.runtimes.len(), first.remaining_nodes), (10, 15));
    store_objects(&mut cluster, &first);
    let second = build_objects("{}", &cluster);
    assert_eq!((second.runtimes.len(), second.remaining_nodes), (10, 5));
    let again: BTreeSet<String> = second.runtimes.iter().map(|runtime| runtime.name_any()).collect();
    assert!(first.runtimes.iter().all(|runtime| !again.contains(&runtime.name_any())), "no node is updated twice");
}

/// The spec of a second rollout.
const CHANGED: &str = "{network: {mode: Enabled}}";

#[test]
fn a_rollout_halts_when_too_many_updated_nodes_fail() {
    let mut cluster = nodes(40);
    roll_out(&mut cluster, "{}");
    let first = build_objects(CHANGED, &cluster);
    store_objects(&mut cluster, &first);
    report_ready(&mut cluster, "reef-000", false);
    assert_eq!(build_objects(CHANGED, &cluster).rollout, Rollout::Progressing, "a single node does not halt it");
    report_ready(&mut cluster, "reef-001", false);
    let halted = build_objects(CHANGED, &cluster);
    assert_eq!((halted.rollout, halted.runtimes.len()), (Rollout::Halted { failing: 2, updated: 10 }, 0));
    report_ready(&mut cluster, "reef-001", true);
    assert_eq!(build_objects(CHANGED, &cluster).runtimes.len(), 10, "it continues when they recover");
}

#[test]
fn nodes_that_failed_before_the_update_do_not_halt_it() {
    let mut cluster = nodes(40);
    roll_out(&mut cluster, "{}");
    let first = build_objects(CHANGED, &cluster);
    store_objects(&mut cluster, &first);
    for node in 0..6 {
        let node = format!("reef-{node:03}");
        // Reported transition time: 2026-01-01T00:00:00Z.
        report_ready(&mut cluster, &node, false);
        set_spec_written_at(&mut cluster, &node, "2026-01-01T00:00:01Z");
    }
    assert_eq!(build_objects(CHANGED, &cluster).rollout, Rollout::Progressing);
    for node in ["reef-000", "reef-001"] {
        set_spec_written_at(&mut cluster, node, "2026-01-01T00:00:00Z");
    }
    assert_eq!(build_objects(CHANGED, &cluster).rollout, Rollout::Halted { failing: 2, updated: 10 });
}

#[test]
fn a_node_being_deleted_keeps_its_runtime_and_does_not_count() {
    let mut cluster = nodes(12);
    roll_out(&mut cluster, "{}");
    start_deleting(&mut cluster, 0);
    start_deleting(&mut cluster, 1);
    assert_eq!(build_objects("{}", &cluster).garbage.runtimes, Vec::<String>::new());
    let first = build_objects(CHANGED, &cluster);
    assert!(first.runtimes.iter().any(|runtime| runtime.name_any() == "reef-000"), "it is updated");
    store_objects(&mut cluster, &first);
    report_ready(&mut cluster, "reef-000", false);
    report_ready(&mut cluster, "reef-001", false);
    assert_eq!(build_objects(CHANGED, &cluster).rollout, Rollout::Progressing);
    cluster.runtimes.remove("reef-000");
    let updated = build_objects(CHANGED, &cluster).runtimes;
    assert!(updated.iter().all(|runtime| runtime.name_any() != "reef-000"), "it gets no new NodeRuntime");
    cluster.nodes.remove(0);
    cluster.nodes.remove(0);
    assert_eq!(build_objects("{}", &cluster).garbage.runtimes, ["reef-001"], "until it is gone");
}

#[test]
fn a_new_node_is_updated_during_a_halted_rollout() {
    let mut cluster = nodes(21);
    let newcomer = cluster.nodes.pop().unwrap();
    roll_out(&mut cluster, "{}");
    let first = build_objects(CHANGED, &cluster);
    store_objects(&mut cluster, &first);
    report_ready(&mut cluster, "reef-000", false);
    report_ready(&mut cluster, "reef-001", false);
    cluster.nodes.push(newcomer);
    let halted = build_objects(CHANGED, &cluster);
    let updated: Vec<_> = halted.runtimes.iter().map(|runtime| runtime.name_any()).collect();
    assert_eq!((halted.rollout, updated), (Rollout::Halted { failing: 2, updated: 10 }, vec!["reef-020".to_owned()]));
}

#[test]
fn no_more_nodes_are_updated_than_there_are_tokens() {
    let mut cluster = nodes(25);
    roll_out(&mut cluster, "{}");
    cluster.tokens = 3;
    let step = build_objects(CHANGED, &cluster);
    assert_eq!((step.runtimes.len(), step.remaining_nodes), (3, 22));
    cluster.tokens = 0;
    let step = build_objects(CHANGED, &cluster);
    assert_eq!((step.runtimes.len(), step.remaining_nodes), (0, 25));
}

#[test]
fn a_rollout_waits_for_reports_of_ready_agents() {
    let mut cluster = nodes(25);
    roll_out(&mut cluster, "{}");
    let first = build_objects(CHANGED, &cluster);
    store_objects(&mut cluster, &first);
    for runtime in &first.runtimes {
        cluster.agents.insert(runtime.name_any(), true);
    }
    assert_eq!(build_objects(CHANGED, &cluster).runtimes.len(), 0, "ten reports are outstanding");
    report_ready(&mut cluster, "reef-000", true);
    cluster.agents.insert("reef-001".into(), false);
    assert_eq!(build_objects(CHANGED, &cluster).runtimes.len(), 2, "one has reported, and one agent is not ready");
}

#[test]
fn a_second_reconcile_creates_no_existing_object_again() {
    let mut cluster = nodes(2);
    let first = build_objects("{security: {mode: Enabled}}", &cluster);
    assert_eq!(first.parts.len(), 2, "the stack's processes, and the policy");
    store_objects(&mut cluster, &first);
    let second = build_objects("{security: {mode: Enabled}}", &cluster);
    assert_eq!((second.parts.len(), second.runtimes.len()), (0, 0));
    assert_eq!(second.garbage, super::Garbage::default());
}

#[test]
fn a_part_that_lost_its_owner_is_applied_again() {
    let mut cluster = nodes(1);
    store_objects(&mut cluster, &build_objects("{security: {mode: Enabled}}", &nodes(1)));
    cluster.parts[0].owner_references = None;
    if let Some(owners) = &mut cluster.parts[1].owner_references {
        owners[0].uid = "uid-of-an-older-stack".into();
    }
    assert_eq!(build_objects("{security: {mode: Enabled}}", &cluster).parts.len(), 2);
}

#[test]
fn unselected_nodes_and_unused_profiles_are_garbage() {
    let mut cluster = nodes(2);
    for bytes in (13..19).map(|power| 1 << power) {
        let built = build_objects(&format!("{{security: {{memoryBudgetBytes: {bytes}}}}}"), &cluster);
        store_objects(&mut cluster, &built);
    }
    cluster.nodes.pop();
    let built = build_objects("{security: {memoryBudgetBytes: 262144}}", &cluster);
    assert_eq!(built.garbage.runtimes, ["reef-001"]);
    assert_eq!(cluster.profiles.len() - built.garbage.profiles.len(), 4, "the active one, and the last three");
    assert_eq!(built.garbage.parts.len(), 2 * built.garbage.profiles.len());
}

#[test]
fn changed_settings_change_the_pod_template() {
    let annotation = |spec: &str| {
        let template = build_objects(spec, &nodes(0)).daemon_set.spec.unwrap().template;
        template.metadata.unwrap().annotations.unwrap()["trilobite.dev/settings"].clone()
    };
    assert_eq!(annotation("{}"), "");
    assert_eq!(annotation("{metrics: {enabled: true, port: 9100}}"), "TRILOBITE_METRICS_ADDRESS=[::]:9100");
}

#[test]
fn every_pod_has_the_digest_of_its_template() {
    let template = |spec: &str| {
        let template = build_objects(spec, &nodes(0)).daemon_set.spec.unwrap().template;
        template.metadata.unwrap().labels.unwrap()["trilobite.dev/template"].clone()
    };
    assert_eq!(template("{}"), template("{network: {mode: Enabled}}"), "the profile is not part of the pod template");
    assert_ne!(template("{}"), template("{runtime: {image: localhost/kelp:1}}"));
    assert_ne!(template("{}"), template("{metrics: {enabled: true}}"));
}

#[test]
fn the_service_is_deleted_only_if_it_exists_and_metrics_are_off() {
    let mut cluster = nodes(0);
    assert!(!build_objects("{}", &cluster).garbage.service);
    cluster.has_service = true;
    assert!(build_objects("{}", &cluster).garbage.service);
    assert!(!build_objects("{metrics: {enabled: true}}", &cluster).garbage.service);
    assert!(!build_objects("{network: {metrics: {mode: Enabled}}}", &cluster).garbage.service);
    assert!(build_objects("{network: {metrics: {mode: Enabled}}, suspend: true}", &cluster).garbage.service);
}

#[test]
fn service_has_a_port_for_each_kind_of_metrics() {
    let ports = |spec: &str| {
        let objects = build_objects(spec, &nodes(0));
        let ports = objects.service.and_then(|service| service.spec?.ports).unwrap_or_default();
        ports.into_iter().map(|port| (port.name.unwrap_or_default(), port.port)).collect::<Vec<_>>()
    };
    assert_eq!(ports("{network: {mode: Enabled}}"), []);
    assert_eq!(ports("{network: {metrics: {mode: Enabled}}}"), [("hubble-metrics".into(), 9965)]);
    let both = "{metrics: {enabled: true}, network: {metrics: {mode: Enabled, port: 9966}}}";
    assert_eq!(ports(both), [("metrics".into(), 2112), ("hubble-metrics".into(), 9966)]);
}

#[test]
fn opt_in_capabilities_are_added_only_on_request() {
    let capabilities = |spec: &str| {
        let mut pod = build_objects(spec, &nodes(0)).daemon_set.spec.unwrap().template.spec.unwrap();
        let context = pod.containers.remove(0).security_context.unwrap();
        context.capabilities.unwrap().add.unwrap()
    };
    let always = ["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG"];
    assert_eq!(capabilities("{}"), always);
    assert!(capabilities("{runtime: {allowSysAdmin: true}}").contains(&"SYS_ADMIN".to_owned()));
    assert!(capabilities("{runtime: {allowSysResource: true}}").contains(&"SYS_RESOURCE".to_owned()));
}

/// The requests and limits of the agent's container.
fn resources(spec: &str) -> serde_json::Value {
    let pod = build_objects(spec, &nodes(0)).daemon_set.spec.unwrap().template.spec.unwrap();
    serde_json::to_value(&pod.containers[0].resources).unwrap()
}

#[test]
fn agents_request_cpu_and_memory_by_default() {
    let requests = serde_json::json!({"requests": {"cpu": "50m", "memory": "32Mi"}});
    assert_eq!(resources("{}"), requests);
    assert_eq!(resources("{runtime: {resources: {}}}"), requests);
}

#[test]
fn a_request_or_limit_of_the_stack_replaces_the_default() {
    assert_eq!(
        resources("{runtime: {resources: {requests: {cpu: '1', ephemeral-storage: 1Gi}}}}"),
        serde_json::json!({"requests": {"cpu": "1", "ephemeral-storage": "1Gi", "memory": "32Mi"}})
    );
    // A default request above the limit would be rejected by the API server.
    assert_eq!(
        resources("{runtime: {resources: {limits: {memory: 16Mi}}}}"),
        serde_json::json!({"requests": {"cpu": "50m"}, "limits": {"memory": "16Mi"}})
    );
}

#[test]
fn the_export_container_is_there_only_on_request() {
    let pod = |spec: &str| {
        let template = build_objects(spec, &nodes(0)).daemon_set.spec.unwrap().template;
        (template.metadata.unwrap().annotations.unwrap(), template.spec.unwrap().containers)
    };
    for spec in ["{}", "{export: {stdout: {enabled: false}, file: {enabled: true}}}"] {
        let (annotations, containers) = pod(spec);
        let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
        assert_eq!((names, annotations.len()), (vec!["agent"], 1), "{spec}");
        assert!(!containers[0].args.as_ref().unwrap().contains(&"--export-fifo".to_owned()), "{spec}");
    }
    let (annotations, containers) = pod("{export: {stdout: {enabled: true}}}");
    let [agent, export] = &containers[..] else { panic!("{containers:?}") };
    // Clients that name no container get the agent.
    assert_eq!(
        (agent.name.as_str(), annotations["kubectl.kubernetes.io/default-container"].as_str()),
        ("agent", "agent")
    );
    let fifo = &export.args.as_ref().unwrap()[0];
    assert!(agent.args.as_ref().unwrap().ends_with(&["--export-fifo".to_owned(), fifo.clone()]));
    // Both mounts end at the same folder of the node.
    let mount = &export.volume_mounts.as_ref().unwrap()[0];
    assert_eq!(mount.sub_path_expr.as_deref(), Some("$(NODE_NAME)/export"));
    assert!(
        fifo.starts_with(&mount.mount_path)
            && export.security_context.as_ref().unwrap().capabilities.as_ref().unwrap().add.is_none()
    );
}

#[test]
fn the_daemon_set_matches_the_golden_file() {
    let spec = "{runtime: {nodeSelector: {reef: outer}, tolerations: [{key: team, value: ink}], resources: {limits: {memory: 128Mi}}}, metrics: {enabled: true}, export: {stdout: {enabled: true}}}";
    let built = serde_yaml::to_string(&build_objects(spec, &nodes(0)).daemon_set).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/daemon_set.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &built).unwrap();
    }
    assert_eq!(built, std::fs::read_to_string(path).unwrap(), "UPDATE_GOLDEN=1 rewrites it; review the difference");
}
