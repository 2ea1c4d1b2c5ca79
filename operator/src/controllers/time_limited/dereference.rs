//! What a time-limited resource depends on: the stack, the selected pods, the namespace's labels, and the NodeRuntimes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};
use trilobite_crds::{
    NamespaceClaim, ObservabilityStack, Refusal, above_namespace_budget,
    condition::{ConditionStatus, ConditionType, find},
    node::NodeRuntime,
    selector::Labels,
};

use super::resource::TimeLimited;
use crate::{
    context::{Context, StackState, Stores},
    resource_key::ResourceKey,
    watch::pods::ScheduledPod,
};

pub(super) struct DereferencedResource {
    pub(super) stack: StackState,
    /// None while they are being listed.
    pub(super) pods: Option<BTreeSet<ScheduledPod>>,
    pub(super) namespace_labels: Labels,
    pub(super) runtimes: BTreeMap<String, Arc<NodeRuntime>>,
    /// The status says that the resource is completed.
    pub(super) completed: bool,
    /// The start that this operator knows, whatever the status says now.
    pub(super) known_start: Option<Timestamp>,
    /// The resource does not fit into the budget of its namespace.
    pub(super) above_budget: Option<Refusal>,
}

pub(super) fn dereference<K: TimeLimited>(object: &K, context: &Context) -> DereferencedResource {
    let key = ResourceKey::from(&object.source());
    let completed = is_completed(object);
    let stack = context.stack();
    let namespace = context.stores.namespaces.get(&ObjectRef::new(key.namespace.as_deref().unwrap_or_default()));
    let namespace_labels = namespace.map(|namespace| namespace.labels().clone()).unwrap_or_default();
    let above_budget = stack
        .present()
        .filter(|_| !completed)
        .and_then(|stack| above_budget(&key, stack, &namespace_labels, &context.stores));
    let accepted = match &stack {
        StackState::Present(stack) => {
            above_budget.is_none() && object.session(stack, &namespace_labels, Timestamp::UNIX_EPOCH).is_ok()
        }
        StackState::Absent => false,
        // Existing watches continue.
        StackState::Unreadable => true,
    };
    // Pods are not watched for a resource that is completed or refused.
    let pods = if completed || !accepted {
        context.pod_watches.stop(&key);
        None
    } else {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        context.pod_watches.pods_selected_by(&key, uid, object.pod_selector())
    };
    let runtimes = context.stores.runtimes.state();
    DereferencedResource {
        stack,
        pods,
        namespace_labels,
        runtimes: runtimes.into_iter().map(|runtime| (runtime.name_any(), runtime)).collect(),
        completed,
        known_start: context.starts.get(object.meta().uid.as_deref().unwrap_or_default()),
        above_budget,
    }
}

fn is_completed<K: TimeLimited>(object: &K) -> bool {
    let conditions = object.common_status().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, ConditionType::Completed).is_some_and(|completed| completed.status == ConditionStatus::True)
}

/// The refusal of `key`, if it does not fit beside what its namespace uses already.
fn above_budget(
    key: &ResourceKey,
    stack: &ObservabilityStack,
    namespace_labels: &Labels,
    stores: &Stores,
) -> Option<Refusal> {
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let mut claims = namespace_claims(&stores.profiles, namespace, namespace_labels, stack);
    claims.extend(namespace_claims(&stores.captures, namespace, namespace_labels, stack));
    let refusals = above_namespace_budget(&claims, &stack.spec.tenancy.per_namespace);
    refusals.into_iter().find(|refusal| ResourceKey::from(&refusal.source) == *key)
}

/// What the objects of one kind in the namespace claim. Completed and refused ones claim nothing.
fn namespace_claims<K: TimeLimited + 'static>(
    store: &Store<DeserializeGuard<K>>,
    namespace: &str,
    namespace_labels: &Labels,
    stack: &ObservabilityStack,
) -> Vec<NamespaceClaim> {
    let objects = store.state();
    let objects = objects.iter().filter_map(|object| object.0.as_ref().ok());
    let running =
        objects.filter(|object| object.meta().namespace.as_deref() == Some(namespace) && !is_completed(*object));
    let claim = |object: &K| {
        let session = object.session(stack, namespace_labels, Timestamp::UNIX_EPOCH).ok()?;
        Some(NamespaceClaim::new(&session, object.creation_timestamp().map(|time| time.0)))
    };
    running.filter_map(claim).collect()
}
