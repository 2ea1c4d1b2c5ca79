//! What is built from a stack, without an API server.

use std::collections::BTreeSet;

use kube::ResourceExt as _;

use super::super::world_of_tests::{answer, applied, children, leaves, nodes, settled, was_told_at};
use crate::status::Rollout;

#[test]
fn every_child_is_owned_by_the_stack_and_every_node_runtime_by_its_node() {
    let children = children("{security: {mode: Enabled}, metrics: {enabled: true}}", &nodes(1));
    let owner = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        (owners[0].kind.clone(), owners[0].uid.clone(), owners[0].block_owner_deletion)
    };
    let stack = ("ObservabilityStack".to_owned(), "uid-of-the-stack".to_owned(), None);
    assert_eq!(owner(children.daemon_set.owner_references()), stack);
    assert_eq!(owner(children.config_map.owner_references()), stack);
    assert_eq!(owner(children.service.as_ref().unwrap().owner_references()), stack);
    assert_eq!(owner(children.profile.owner_references()), stack);
    assert_eq!(owner(children.parts[0].owner_references()), stack);
    assert_eq!(owner(children.told[0].owner_references()), ("Node".into(), "uid-of-reef-000".into(), None));
}

#[test]
fn nodes_are_told_so_many_at_a_time() {
    let mut found = nodes(25);
    let first = children("{}", &found);
    assert_eq!((first.told.len(), first.left), (10, 15));
    applied(&mut found, &first);
    let second = children("{}", &found);
    assert_eq!((second.told.len(), second.left), (10, 5));
    let again: BTreeSet<String> = second.told.iter().map(|runtime| runtime.name_any()).collect();
    assert!(first.told.iter().all(|runtime| !again.contains(&runtime.name_any())), "nobody is told twice");
}

/// A change that the nodes of `a_change` are told of.
const CHANGED: &str = "{network: {mode: Enabled}}";

#[test]
fn a_change_stops_when_too_many_of_those_that_were_told_fail_with_it() {
    let mut found = nodes(40);
    settled(&mut found, "{}");
    let first = children(CHANGED, &found);
    applied(&mut found, &first);
    answer(&mut found, "reef-000", false);
    assert_eq!(children(CHANGED, &found).rollout, Rollout::Moving, "one may have a reason of its own");
    answer(&mut found, "reef-001", false);
    let stopped = children(CHANGED, &found);
    assert_eq!((stopped.rollout, stopped.told.len()), (Rollout::Halted { failing: 2, told: 10 }, 0));
    answer(&mut found, "reef-001", true);
    assert_eq!(children(CHANGED, &found).told.len(), 10, "it goes on when they are well");
}

#[test]
fn nodes_that_failed_before_the_change_do_not_stop_it() {
    let mut found = nodes(40);
    settled(&mut found, "{}");
    let first = children(CHANGED, &found);
    applied(&mut found, &first);
    for node in 0..6 {
        let node = format!("reef-{node:03}");
        // Its answer says since when it fails: since the first second of the year.
        answer(&mut found, &node, false);
        was_told_at(&mut found, &node, "2026-01-01T00:00:01Z");
    }
    assert_eq!(children(CHANGED, &found).rollout, Rollout::Moving);
    for node in ["reef-000", "reef-001"] {
        was_told_at(&mut found, node, "2026-01-01T00:00:00Z");
    }
    assert_eq!(children(CHANGED, &found).rollout, Rollout::Halted { failing: 2, told: 10 });
}

#[test]
fn a_node_that_is_being_deleted_keeps_what_it_runs_and_does_not_count() {
    let mut found = nodes(12);
    settled(&mut found, "{}");
    leaves(&mut found, 0);
    leaves(&mut found, 1);
    assert_eq!(children("{}", &found).garbage.runtimes, Vec::<String>::new());
    let first = children(CHANGED, &found);
    assert!(first.told.iter().any(|runtime| runtime.name_any() == "reef-000"), "it is told of changes");
    applied(&mut found, &first);
    answer(&mut found, "reef-000", false);
    answer(&mut found, "reef-001", false);
    assert_eq!(children(CHANGED, &found).rollout, Rollout::Moving);
    found.runtimes.remove("reef-000");
    let told = children(CHANGED, &found).told;
    assert!(told.iter().all(|runtime| runtime.name_any() != "reef-000"), "and nothing begins there anew");
    found.nodes.remove(0);
    found.nodes.remove(0);
    assert_eq!(children("{}", &found).garbage.runtimes, ["reef-001"], "until it is gone");
}

#[test]
fn a_node_that_joins_is_told_though_a_change_has_stopped() {
    let mut found = nodes(21);
    let newcomer = found.nodes.pop().unwrap();
    settled(&mut found, "{}");
    let first = children(CHANGED, &found);
    applied(&mut found, &first);
    answer(&mut found, "reef-000", false);
    answer(&mut found, "reef-001", false);
    found.nodes.push(newcomer);
    let stopped = children(CHANGED, &found);
    let told: Vec<_> = stopped.told.iter().map(|runtime| runtime.name_any()).collect();
    assert_eq!((stopped.rollout, told), (Rollout::Halted { failing: 2, told: 10 }, vec!["reef-020".to_owned()]));
}

#[test]
fn however_soon_it_is_rung_again_no_more_nodes_are_told_than_the_pace_allows() {
    let mut found = nodes(25);
    settled(&mut found, "{}");
    found.tokens = 3;
    let step = children(CHANGED, &found);
    assert_eq!((step.told.len(), step.left), (3, 22));
    found.tokens = 0;
    let step = children(CHANGED, &found);
    assert_eq!((step.told.len(), step.left), (0, 25));
}

#[test]
fn nodes_whose_agents_run_and_owe_an_answer_are_waited_for() {
    let mut found = nodes(25);
    settled(&mut found, "{}");
    let first = children(CHANGED, &found);
    applied(&mut found, &first);
    for runtime in &first.told {
        found.agents.insert(runtime.name_any(), true);
    }
    assert_eq!(children(CHANGED, &found).told.len(), 0, "ten owe an answer");
    answer(&mut found, "reef-000", true);
    found.agents.insert("reef-001".into(), false);
    assert_eq!(children(CHANGED, &found).told.len(), 2, "one answered, and one does not run");
}

#[test]
fn a_second_round_makes_nothing_that_is_there() {
    let mut found = nodes(2);
    let first = children("{security: {mode: Enabled}}", &found);
    assert_eq!(first.parts.len(), 2, "the stack's processes, and the policy");
    applied(&mut found, &first);
    let second = children("{security: {mode: Enabled}}", &found);
    assert_eq!((second.parts.len(), second.told.len()), (0, 0));
    assert_eq!(second.garbage, super::Garbage::default());
}

#[test]
fn a_node_that_is_not_the_stacks_any_more_is_taken_off_and_so_is_an_old_profile_that_nobody_uses() {
    let mut found = nodes(2);
    for bytes in (13..19).map(|power| 1 << power) {
        let built = children(&format!("{{security: {{memoryBudgetBytes: {bytes}}}}}"), &found);
        applied(&mut found, &built);
    }
    found.nodes.pop();
    let built = children("{security: {memoryBudgetBytes: 262144}}", &found);
    assert_eq!(built.garbage.runtimes, ["reef-001"]);
    assert_eq!(found.profiles.len() - built.garbage.profiles.len(), 4, "the one in force, and the last three");
    assert_eq!(built.garbage.parts.len(), 2 * built.garbage.profiles.len());
}

#[test]
fn a_change_of_settings_is_a_new_revision_of_the_pods() {
    let annotation = |spec: &str| {
        let template = children(spec, &nodes(0)).daemon_set.spec.unwrap().template;
        template.metadata.unwrap().annotations.unwrap()["trilobite.dev/settings"].clone()
    };
    assert_eq!(annotation("{}"), "");
    assert_eq!(annotation("{metrics: {enabled: true, port: 9100}}"), "TRILOBITE_METRICS_ADDRESS=[::]:9100");
}

#[test]
fn every_pod_says_which_template_it_was_made_from() {
    let template = |spec: &str| {
        let template = children(spec, &nodes(0)).daemon_set.spec.unwrap().template;
        template.metadata.unwrap().labels.unwrap()["trilobite.dev/template"].clone()
    };
    assert_eq!(
        template("{}"),
        template("{network: {mode: Enabled}}"),
        "what nodes are told is no matter of their pods"
    );
    assert_ne!(template("{}"), template("{runtime: {image: localhost/kelp:1}}"));
    assert_ne!(template("{}"), template("{metrics: {enabled: true}}"));
}

#[test]
fn the_service_is_deleted_only_where_it_is_and_nobody_wants_it() {
    let mut found = nodes(0);
    assert!(!children("{}", &found).garbage.service);
    found.has_service = true;
    assert!(children("{}", &found).garbage.service);
    assert!(!children("{metrics: {enabled: true}}", &found).garbage.service);
}

#[test]
fn a_dangerous_capability_is_there_only_where_it_was_asked_for() {
    let added = |spec: &str| {
        let mut pod = children(spec, &nodes(0)).daemon_set.spec.unwrap().template.spec.unwrap();
        let context = pod.containers.remove(0).security_context.unwrap();
        context.capabilities.unwrap().add.unwrap()
    };
    let always = ["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG"];
    assert_eq!(added("{}"), always);
    assert!(added("{runtime: {allowSysAdmin: true}}").contains(&"SYS_ADMIN".to_owned()));
    assert!(added("{runtime: {allowSysResource: true}}").contains(&"SYS_RESOURCE".to_owned()));
}

#[test]
fn the_daemon_set_is_the_one_that_was_reviewed() {
    let spec = "{runtime: {nodeSelector: {reef: outer}, tolerations: [{key: team, value: ink}], resources: {limits: {memory: 128Mi}}}, metrics: {enabled: true}}";
    let built = serde_yaml::to_string(&children(spec, &nodes(0)).daemon_set).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/daemon_set.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &built).unwrap();
    }
    assert_eq!(built, std::fs::read_to_string(path).unwrap(), "UPDATE_GOLDEN=1 rewrites it; review the difference");
}
