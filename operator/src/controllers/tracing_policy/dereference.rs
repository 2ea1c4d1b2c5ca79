//! What a policy depends on: whether a stack exists, the last plan of the stack's controller, and the namespaces' labels.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;

use crate::{
    context::{Context, StackState},
    plan::Plan,
};

pub(super) struct DereferencedPolicy {
    pub(super) has_stack: bool,
    pub(super) plan: Option<Arc<Plan>>,
    pub(super) namespaces: Vec<Arc<PartialObjectMeta<Namespace>>>,
}

pub(super) fn dereference(context: &Context) -> DereferencedPolicy {
    // While the stack is unreadable, the last plan stays valid.
    let has_stack = !matches!(context.stack(), StackState::Absent);
    DereferencedPolicy { has_stack, plan: context.plan.borrow().clone(), namespaces: context.stores.namespaces.state() }
}
