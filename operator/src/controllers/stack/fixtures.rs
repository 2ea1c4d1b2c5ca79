//! A stack, a policy and some nodes for the tests of the phases. Names differ from the product's, so that a swapped one
//! shows.

use std::{collections::BTreeMap, sync::Arc};

use clap::Parser as _;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Time};
use kube::{ResourceExt as _, core::ObjectMeta};
use trilobite_crds::{ObservabilityStack, TracingPolicy, node::NodeRuntime};

use super::{
    build::{OwnedObjects, build},
    dereference::{DereferencedRelay, DereferencedStack},
    validate::{ValidatedStack, validate},
};
use crate::{args::Arguments, controllers::phase::Prepared, watch::node_runtimes::SPEC_WRITTEN_AT};

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

/// One policy, nodes reef-000, reef-001, ..., and no objects of the operator.
pub(super) fn nodes(count: usize) -> DereferencedStack {
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
    DereferencedStack {
        policies: vec![policy()],
        namespaced_policies: Vec::new(),
        cilium_policies: Vec::new(),
        cilium_namespaced_policies: Vec::new(),
        nodes: (0..count).map(node).collect(),
        runtimes: BTreeMap::new(),
        profiles: Vec::new(),
        parts: Vec::new(),
        agents: BTreeMap::new(),
        has_service: false,
        relay: DereferencedRelay::default(),
        tokens: 10,
    }
}

/// Rolls `spec` out to every node, and every agent reports that it is ready.
pub(super) fn roll_out(cluster: &mut DereferencedStack, spec: &str) {
    loop {
        let step = build_objects(spec, cluster);
        store_objects(cluster, &step);
        for runtime in &step.runtimes {
            report_ready(cluster, &runtime.name_any(), true);
        }
        if step.remaining_nodes == 0 {
            return;
        }
    }
}

pub(super) fn validated(spec: &str, cluster: &DereferencedStack) -> ValidatedStack {
    let arguments = [
        "trilobite-operator",
        "--namespace=ink-system",
        "--node-image=localhost/ink:7",
        "--relay-image=localhost/squid:7",
        "--nodes-per-second=10",
    ];
    validate(&stack(spec), cluster, &Arguments::parse_from(arguments))
}

pub(super) fn build_objects(spec: &str, cluster: &DereferencedStack) -> OwnedObjects<Prepared> {
    build(&validated(spec, cluster), cluster).unwrap()
}

/// Adds the built objects to the cluster, as `apply` does.
pub(super) fn store_objects(cluster: &mut DereferencedStack, objects: &OwnedObjects<Prepared>) {
    cluster.profiles.push(objects.profile.clone());
    cluster.parts.extend(objects.parts.iter().map(|part| part.metadata.clone()));
    for runtime in &objects.runtimes {
        cluster.runtimes.insert(runtime.name_any(), Arc::new(runtime.clone()));
    }
}

/// The agent reports that it has applied the spec of its NodeRuntime.
pub(super) fn report_ready(cluster: &mut DereferencedStack, node: &str, ready: bool) {
    let mut runtime = NodeRuntime::clone(&cluster.runtimes[node]);
    let status = if ready { "True" } else { "False" };
    runtime.status = Some(
        serde_json::from_value(serde_json::json!({
            "appliedProfile": runtime.spec.profile_ref,
            "conditions": [{"type": "Ready", "status": status, "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap(),
    );
    cluster.runtimes.insert(node.into(), Arc::new(runtime));
}

pub(super) fn set_spec_written_at(cluster: &mut DereferencedStack, node: &str, time: &str) {
    let mut runtime = NodeRuntime::clone(&cluster.runtimes[node]);
    runtime.metadata.annotations = Some([(SPEC_WRITTEN_AT.to_owned(), time.to_owned())].into());
    cluster.runtimes.insert(node.into(), Arc::new(runtime));
}

/// The node is being deleted, and a finalizer keeps it.
pub(super) fn start_deleting(cluster: &mut DereferencedStack, node: usize) {
    let mut deleting = Node::clone(&cluster.nodes[node]);
    deleting.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    cluster.nodes[node] = Arc::new(deleting);
}
