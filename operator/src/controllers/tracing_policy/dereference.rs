//! What a policy depends on: whether there is a stack, and what the stack's controller last planned.

use std::sync::Arc;

use crate::{context::Context, plan::Plan};

pub(super) struct Found {
    pub(super) has_stack: bool,
    pub(super) plan: Option<Arc<Plan>>,
}

pub(super) fn run(context: &Context) -> Found {
    Found { has_stack: context.stack().is_some(), plan: context.plan.borrow().clone() }
}
