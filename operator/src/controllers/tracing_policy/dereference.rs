//! What a policy depends on: whether there is a stack, and what the stack's controller last planned.

use std::sync::Arc;

use crate::{
    context::{Context, StackNow},
    plan::Plan,
};

pub(super) struct Found {
    pub(super) has_stack: bool,
    pub(super) plan: Option<Arc<Plan>>,
}

pub(super) fn run(context: &Context) -> Found {
    // Beside a stack that cannot be read, what was planned last stands.
    let has_stack = !matches!(context.stack(), StackNow::Absent);
    Found { has_stack, plan: context.plan.borrow().clone() }
}
