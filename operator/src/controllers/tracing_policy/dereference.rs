//! What a policy depends on: whether a stack exists, and the last plan of the stack's controller.

use std::sync::Arc;

use crate::{
    context::{Context, StackState},
    plan::Plan,
};

pub(super) struct DereferencedPolicy {
    pub(super) has_stack: bool,
    pub(super) plan: Option<Arc<Plan>>,
}

pub(super) fn dereference(context: &Context) -> DereferencedPolicy {
    // While the stack is unreadable, the last plan stays valid.
    let has_stack = !matches!(context.stack(), StackState::Absent);
    DereferencedPolicy { has_stack, plan: context.plan.borrow().clone() }
}
