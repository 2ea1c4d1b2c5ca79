//! A stack, a policy and some nodes, for the tests of the phases. Names differ from the product's, so that a swapped one shows.

use std::{collections::BTreeMap, sync::Arc};

use clap::Parser as _;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Time};
use kube::{ResourceExt as _, core::ObjectMeta};
use trilobite_crds::{ObservabilityStack, TracingPolicy, node::NodeRuntime};

use super::{
    build::{self, Children, Prepared},
    dereference::Found,
    validate::{self, Valid},
};
use crate::{args::Arguments, watch::node_runtimes::TOLD_AT};

pub(super) fn stack(spec: &str) -> ObservabilityStack {
    let meta = "metadata: {name: default, uid: uid-of-the-stack, generation: 7}";
    serde_yaml::from_str(&format!("apiVersion: trilobite.dev/v1alpha1\nkind: ObservabilityStack\n{meta}\nspec: {spec}"))
        .unwrap()
}

pub(super) fn policy() -> TracingPolicy {
    let spec = "{tracepoints: [{subsystem: sched, event: sched_process_fork}]}";
    let meta = "metadata: {name: watch-ink, generation: 3}";
    serde_yaml::from_str(&format!("apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\n{meta}\nspec: {spec}"))
        .unwrap()
}

/// Nodes reef-000, reef-001, ... and nothing that was made before.
pub(super) fn nodes(count: usize) -> Found {
    let node = |number| {
        let name = format!("reef-{number:03}");
        let metadata = ObjectMeta {
            uid: Some(format!("uid-of-{name}")),
            name: Some(name),
            labels: Some([("kubernetes.io/os".to_owned(), "linux".to_owned())].into()),
            ..ObjectMeta::default()
        };
        Arc::new(Node { metadata, ..Node::default() })
    };
    Found {
        policies: vec![policy()],
        namespaced_policies: Vec::new(),
        nodes: (0..count).map(node).collect(),
        runtimes: BTreeMap::new(),
        profiles: Vec::new(),
        parts: Vec::new(),
        agents: BTreeMap::new(),
        has_service: false,
        tokens: 10,
    }
}

/// Every node was told what `spec` asks, and has answered that it is in force.
pub(super) fn settled(found: &mut Found, spec: &str) {
    loop {
        let step = children(spec, found);
        applied(found, &step);
        for runtime in &step.told {
            answer(found, &runtime.name_any(), true);
        }
        if step.left == 0 {
            return;
        }
    }
}

pub(super) fn valid(spec: &str, found: &Found) -> Valid {
    let arguments =
        ["trilobite-operator", "--namespace=ink-system", "--node-image=localhost/ink:7", "--nodes-per-second=10"];
    validate::run(&stack(spec), found, &Arguments::parse_from(arguments))
}

pub(super) fn children(spec: &str, found: &Found) -> Children<Prepared> {
    build::run(&valid(spec, found), found)
}

/// What was built exists now, and the nodes were told.
pub(super) fn applied(found: &mut Found, children: &Children<Prepared>) {
    found.profiles.push(children.profile.clone());
    found.parts.extend(children.parts.iter().map(|part| part.metadata.clone()));
    for runtime in &children.told {
        found.runtimes.insert(runtime.name_any(), Arc::new(runtime.clone()));
    }
}

/// An agent's answer to what its node was told.
pub(super) fn answer(found: &mut Found, node: &str, ready: bool) {
    let mut runtime = NodeRuntime::clone(&found.runtimes[node]);
    let status = if ready { "True" } else { "False" };
    runtime.status = Some(
        serde_json::from_value(serde_json::json!({
            "appliedProfile": runtime.spec.profile_ref,
            "conditions": [{"type": "Ready", "status": status, "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap(),
    );
    found.runtimes.insert(node.into(), Arc::new(runtime));
}

/// When the API server remembers that a node was told.
pub(super) fn was_told_at(found: &mut Found, node: &str, time: &str) {
    let mut runtime = NodeRuntime::clone(&found.runtimes[node]);
    runtime.metadata.annotations = Some([(TOLD_AT.to_owned(), time.to_owned())].into());
    found.runtimes.insert(node.into(), Arc::new(runtime));
}

/// Somebody deletes a node, and a finalizer holds it.
pub(super) fn leaves(found: &mut Found, node: usize) {
    let mut leaving = Node::clone(&found.nodes[node]);
    leaving.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    found.nodes[node] = Arc::new(leaving);
}
