//! What a bounded resource depends on: the stack, the pods it selects, its namespace's labels, and where it runs already.

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

use super::Bounded;
use crate::{
    context::{Context, StackNow},
    status::Key,
    watch::pods::PlacedPod,
};

pub(super) struct Found {
    pub(super) stack: StackNow,
    /// None while they are being listed.
    pub(super) pods: Option<BTreeSet<PlacedPod>>,
    pub(super) namespace_labels: Labels,
    pub(super) runtimes: BTreeMap<String, Arc<NodeRuntime>>,
    /// Its status says that it has come to its end.
    pub(super) over: bool,
}

pub(super) fn run<K: Bounded>(object: &K, context: &Context) -> Found {
    let key = Key::from(&object.source());
    let conditions = object.common_status().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let over =
        find(conditions, ConditionType::Completed).is_some_and(|completed| completed.status == ConditionStatus::True);
    let stack = context.stack();
    let accepted = match &stack {
        StackNow::There(stack) => object.session(stack, jiff::Timestamp::UNIX_EPOCH).is_ok(),
        StackNow::Absent => false,
        // Whoever is watched stays watched.
        StackNow::Unreadable => true,
    };
    // Nobody's pods are watched for what is over, or cannot be carried out.
    let pods = if over || !accepted {
        context.pods.end(&key);
        None
    } else {
        context.pods.of(&key, object.meta().uid.as_deref().unwrap_or_default(), object.pod_selector())
    };
    let of_namespace = context.stores.namespaces.get(&ObjectRef::new(key.namespace.as_deref().unwrap_or_default()));
    let runtimes = context.stores.runtimes.state();
    Found {
        stack,
        pods,
        namespace_labels: of_namespace.map(|namespace| namespace.labels().clone()).unwrap_or_default(),
        runtimes: runtimes.into_iter().map(|runtime| (runtime.name_any(), runtime)).collect(),
        over,
    }
}
