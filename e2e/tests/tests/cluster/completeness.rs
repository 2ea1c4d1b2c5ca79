//! Nothing is lost silently: what is read and what is counted as lost add up to what happened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trilobite_e2e::{
    Stage,
    clients::{self, Stream},
    pods::{self, Workload},
};

const EXECS: usize = 20_000;

#[test]
fn twenty_thousand_execs_are_all_read_or_counted_as_lost() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}}");
    pods::namespace(&stage.kubectl, "storm");
    let pod = Workload { namespace: "storm", name: "storm", node: "node1", command: "[sleep, infinity]" };
    pod.start(&stage.kubectl);
    let stream = Stream::start(clients::tetra("node1", &["getevents", "-o", "json", "--namespace", "storm"]));
    let before = lost(stage);
    stage.kubectl.run(&["-n", "storm", "exec", "storm", "--", "execstorm", &EXECS.to_string()]);
    let lines = stream.drain(5);
    let lost = lost(stage) - before;

    let mut execs = BTreeSet::new();
    let mut exits = BTreeSet::new();
    let mut known = BTreeMap::new();
    let mut orphans = 0;
    for line in &lines {
        let event: Value = serde_json::from_str(line).unwrap();
        let exec = &event["process_exec"]["process"];
        if exec.is_object() {
            known.insert(id(exec), ());
            if exec["arguments"].as_str().is_some_and(|text| text.starts_with("--leaf")) {
                assert!(execs.insert(id(exec)), "an exec_id came twice: {line}");
                let parent = exec["parent_exec_id"].as_str().unwrap_or_default();
                if event["process_exec"]["parent"]["exec_id"] != parent || parent.is_empty() {
                    orphans += 1;
                }
            }
        }
        let exit = &event["process_exit"]["process"];
        if exit.is_object() && exit["arguments"].as_str().is_some_and(|text| text.starts_with("--leaf")) {
            assert!(exits.insert(id(exit)), "a process exited twice: {line}");
        }
    }
    println!("{} execs and {} exits read, {lost} records lost", execs.len(), exits.len());
    assert_eq!(execs.len() + exits.len() + lost, 2 * EXECS);
    assert_eq!(orphans, 0, "a parent did not resolve");
    pod.stop(&stage.kubectl);
}

fn id(process: &Value) -> String {
    process["exec_id"].as_str().unwrap_or_default().to_owned()
}

/// Records lost on node1 so far, as the node's own status says.
fn lost(stage: &Stage) -> usize {
    let runtime = trilobite_e2e::agents::runtime(&stage.kubectl, "node1").unwrap();
    let losses = runtime["status"]["losses"].as_array().cloned().unwrap_or_default();
    losses.iter().filter_map(|loss| loss["count"].as_u64()).map(|count| usize::try_from(count).unwrap()).sum()
}
