//! The states that `e2e/gitops` shows to Argo CD's interpreter and to kstatus are statuses that the operator can write.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use trilobite_cluster::workspace_root;
use trilobite_crds::{
    Reason,
    condition::{Condition, ConditionStatus, ConditionType, MAX_MESSAGE, find},
};

fn states() -> Vec<(String, Value)> {
    let files = fs::read_dir(workspace_root().join("e2e/gitops/states")).unwrap();
    let read = |path: std::path::PathBuf| {
        let state: Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), state["object"].clone())
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

fn conditions(object: &Value) -> Vec<Condition> {
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in &mut conditions {
        condition["lastTransitionTime"] = json!("2026-11-29T17:00:00Z");
    }
    serde_json::from_value(Value::Array(conditions)).unwrap()
}

#[test]
fn states_have_conditions_that_the_operator_can_write() {
    for (name, object) in states() {
        let conditions = conditions(&object);
        for condition in &conditions {
            condition.reason.parse::<Reason>().unwrap_or_else(|unknown| panic!("{name}: {unknown}"));
            assert!(condition.message.chars().count() <= MAX_MESSAGE, "{name}: {}", condition.message);
            let listed = !condition.r#type.only_while_true() || condition.status == ConditionStatus::True;
            assert!(listed, "{name}: {:?} is listed only while it is true", condition.r#type);
        }
        let has = |kind| find(&conditions, kind).is_some();
        assert!(!(has(ConditionType::Reconciling) && has(ConditionType::Stalled)), "{name}: both at once");
        if name == "new" {
            assert!(conditions.is_empty() && object["status"]["observedGeneration"] == -1);
            continue;
        }
        for kind in [ConditionType::Ready, ConditionType::Programmed, ConditionType::Accepted, ConditionType::Degraded]
        {
            assert!(has(kind), "{name} lacks {kind:?}");
        }
        let time_limited = ["AppProfile", "FlowCapture"].contains(&object["kind"].as_str().unwrap());
        assert_eq!(has(ConditionType::Completed), time_limited, "{name}");
    }
}

#[test]
fn every_broken_state_is_there() {
    let names: BTreeSet<String> = states().into_iter().map(|(name, _)| name).collect();
    for name in [
        "operator-gone",
        "agents-gone",
        "image",
        "oom",
        "node-selector",
        "taint",
        "rights",
        "disk-full",
        "hook-missing-everywhere",
        "hook-missing-on-one-node",
        "namespace-typo",
        "profile-over",
        "profile-without-rows",
        "starved-agent",
        "wrong-uninstall-order",
        "crd-deleted",
    ] {
        assert!(names.contains(name), "e2e/gitops/states lacks {name}");
    }
    // A second stack has no state: the API server refuses it.
    assert!(workspace_root().join("crds/samples/refused/stack-name.yaml").exists());
}
