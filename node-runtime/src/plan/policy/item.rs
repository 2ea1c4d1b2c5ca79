//! One item of a policy's list of hooks, while it is planned.

use std::sync::Arc;

use trilobite_crds::{
    node::PodScope,
    policy::{ArgumentType, Hook, List, TracingPolicySpec},
};

use super::{argument::ArgumentPlace, hook_plan::HookSection, kernel_view::Kernel};

/// Everything that is constant while one policy is planned.
pub(super) struct PolicyContext<'a> {
    pub(super) spec: &'a TracingPolicySpec,
    pub(super) pods: &'a Arc<PodScope>,
    pub(super) lists: Vec<List>,
    pub(super) kernel: &'a dyn Kernel,
    /// See `HookEntry::tracker`.
    pub(super) tracker: Option<u32>,
}

/// One item of a policy on one attach point.
pub(super) struct Item<'a> {
    pub(super) field: &'a str,
    pub(super) hook: Hook<'a>,
    pub(super) section: HookSection,
    pub(super) place: ArgumentPlace,
    pub(super) is_list: bool,
}

/// Which actions an entry is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// `matchActions` of a hook without a return value.
    Entry,
    /// `matchActions` of a hook with one: its events are those of the return.
    EntryOfReturn,
    /// `matchReturnActions`.
    Return,
}

/// Index of a value among those of the entry, and the type that filters compare it as.
pub(super) type ReadableValue = (u8, ArgumentType);
