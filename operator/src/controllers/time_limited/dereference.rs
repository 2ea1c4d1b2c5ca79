//! What a time-limited resource depends on: the stack, the selected pods, the namespace's labels, and the NodeRuntimes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use trilobite_crds::{
    condition::{ConditionStatus, ConditionType, find},
    node::NodeRuntime,
    selector::Labels,
};

use super::resource::TimeLimited;
use crate::{
    context::{Context, StackState},
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
}

pub(super) fn dereference<K: TimeLimited>(object: &K, context: &Context) -> DereferencedResource {
    let key = ResourceKey::from(&object.source());
    let conditions = object.common_status().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let completed =
        find(conditions, ConditionType::Completed).is_some_and(|completed| completed.status == ConditionStatus::True);
    let stack = context.stack();
    let accepted = match &stack {
        StackState::Present(stack) => object.session(stack, jiff::Timestamp::UNIX_EPOCH).is_ok(),
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
    let namespace = context.stores.namespaces.get(&ObjectRef::new(key.namespace.as_deref().unwrap_or_default()));
    let runtimes = context.stores.runtimes.state();
    DereferencedResource {
        stack,
        pods,
        namespace_labels: namespace.map(|namespace| namespace.labels().clone()).unwrap_or_default(),
        runtimes: runtimes.into_iter().map(|runtime| (runtime.name_any(), runtime)).collect(),
        completed,
    }
}
