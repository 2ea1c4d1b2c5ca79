//! `Watches`: the watch on every kind that the operator caches.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Container, Namespace, Node, Pod};
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{reflector::Store, watcher::Config},
};
use trilobite_crds::{
    AppProfile, CiliumTracingPolicy, CiliumTracingPolicyNamespaced, FlowCapture, ObservabilityStack, TracingPolicy,
    TracingPolicyNamespaced, node::NodeRuntime,
};

use crate::{
    context::Stores,
    labels::agent_selector_query,
    watch::{
        Events, Trigger, UserKindWatch, WatchRegistry, node_runtimes::watch_node_runtimes, reflect, watch_foreign_kind,
        watch_objects, watch_user_kind, with_namespace_end, with_trigger,
    },
};

pub(super) struct Watches {
    pub(super) stacks: UserKindWatch<ObservabilityStack>,
    pub(super) policies: UserKindWatch<TracingPolicy>,
    pub(super) namespaced_policies: UserKindWatch<TracingPolicyNamespaced>,
    pub(super) cilium_policies: UserKindWatch<CiliumTracingPolicy>,
    pub(super) cilium_namespaced_policies: UserKindWatch<CiliumTracingPolicyNamespaced>,
    pub(super) captures: UserKindWatch<FlowCapture>,
    pub(super) profiles: UserKindWatch<AppProfile>,
    pub(super) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(super) namespace_events: Events<PartialObjectMeta<Namespace>>,
    /// Fires when the labels of a namespace change.
    pub(super) namespace_labels_changed: Trigger,
    /// Fires when the operator's own namespace begins to end, and when it is there again.
    pub(super) namespace_ends: Trigger,
    pub(super) nodes: Store<Node>,
    pub(super) runtimes: Store<NodeRuntime>,
    pub(super) agent_pods: Store<Pod>,
}

/// The events that the status index reads.
pub(super) struct NodeEvents {
    pub(super) nodes: Events<Node>,
    pub(super) runtimes: Events<NodeRuntime>,
    pub(super) agent_pods: Events<Pod>,
}

impl Watches {
    pub(super) fn start(client: &Client, namespace: &str, registry: &WatchRegistry) -> (Self, NodeEvents) {
        let any = Config::default;
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let namespaces = reflect(watch_objects(namespaces, any()), "Namespace", registry, |_| {});
        let (namespace_events, namespace_labels_changed) = with_trigger(namespaces.events, |meta| meta.labels.clone());
        let (namespace_events, namespace_ends) = with_namespace_end(namespace_events, namespace);
        let nodes: Api<Node> = Api::all(client.clone());
        let nodes = reflect(watch_objects(nodes, any()), "Node", registry, prune_node);
        let runtimes = watch_node_runtimes(client, registry);
        let agent_pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let agents_only = any().labels(&agent_selector_query());
        let agent_pods = reflect(watch_objects(agent_pods, agents_only), "Pod", registry, prune_pod);
        let node_events = NodeEvents {
            nodes: nodes.events.boxed(),
            runtimes: runtimes.events.boxed(),
            agent_pods: agent_pods.events.boxed(),
        };
        let watches = Self {
            stacks: watch_user_kind(client, "ObservabilityStack", registry),
            policies: watch_user_kind(client, "TracingPolicy", registry),
            namespaced_policies: watch_user_kind(client, "TracingPolicyNamespaced", registry),
            cilium_policies: watch_foreign_kind(client, "CiliumTracingPolicy", registry),
            cilium_namespaced_policies: watch_foreign_kind(client, "CiliumTracingPolicyNamespaced", registry),
            captures: watch_user_kind(client, "FlowCapture", registry),
            profiles: watch_user_kind(client, "AppProfile", registry),
            namespaces: namespaces.store,
            namespace_events,
            namespace_labels_changed,
            namespace_ends,
            nodes: nodes.store,
            runtimes: runtimes.store,
            agent_pods: agent_pods.store,
        };
        (watches, node_events)
    }

    /// The triggers of all user kinds.
    pub(super) fn edited(&self) -> [Trigger; 7] {
        [
            self.stacks.edited.clone(),
            self.policies.edited.clone(),
            self.namespaced_policies.edited.clone(),
            self.cilium_policies.edited.clone(),
            self.cilium_namespaced_policies.edited.clone(),
            self.captures.edited.clone(),
            self.profiles.edited.clone(),
        ]
    }

    pub(super) fn stores(&self) -> Stores {
        Stores {
            stacks: self.stacks.store.clone(),
            policies: self.policies.store.clone(),
            namespaced_policies: self.namespaced_policies.store.clone(),
            cilium_policies: self.cilium_policies.store.clone(),
            cilium_namespaced_policies: self.cilium_namespaced_policies.store.clone(),
            captures: self.captures.store.clone(),
            profiles: self.profiles.store.clone(),
            namespaces: self.namespaces.clone(),
            nodes: self.nodes.clone(),
            runtimes: self.runtimes.clone(),
            agent_pods: self.agent_pods.clone(),
        }
    }
}

/// Annotations and images are most of a node's size, and are not read.
fn prune_node(node: &mut Node) {
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        (status.images, status.addresses) = (None, None);
        // Each heartbeat would count as a change.
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        if let Some(conditions) = &mut status.conditions {
            conditions.retain(|condition| condition.type_ == "Ready");
        }
    }
}

/// Only a pod's node, labels, status and the containers' resources are read.
fn prune_pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    if let Some(spec) = &mut pod.spec {
        (spec.volumes, spec.tolerations) = (None, None);
        for container in &mut spec.containers {
            let (name, resources) = (std::mem::take(&mut container.name), container.resources.take());
            *container = Container { name, resources, ..Container::default() };
        }
    }
}
