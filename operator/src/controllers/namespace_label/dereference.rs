//! What the label depends on: the AppProfile that was made from it, and the stack's own limit.

use k8s_openapi::api::core::v1::Namespace;
use kube::{ResourceExt as _, core::PartialObjectMeta, runtime::reflector::ObjectRef};
use trilobite_crds::stack::Layer;

use super::NAME;
use crate::{
    children::{MANAGED_BY, MANAGER},
    context::Context,
};

/// The AppProfile of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    None,
    Ours,
    /// Somebody made one by hand.
    Foreign,
}

pub(super) struct Found {
    pub(super) existing: Existing,
    /// The most that an AppProfile may ask for, if the stack says so.
    pub(super) budget: Option<i64>,
}

pub(super) fn run(namespace: &PartialObjectMeta<Namespace>, context: &Context) -> Found {
    let there = context.stores.profiles.get(&ObjectRef::new(NAME).within(&namespace.name_any()));
    let existing = match there {
        None => Existing::None,
        Some(profile) if profile.labels().get(MANAGED_BY).is_some_and(|who| who == MANAGER) => Existing::Ours,
        Some(_) => Existing::Foreign,
    };
    let budget = context.stack().and_then(|stack| stack.spec.layer(Layer::Application).memory_budget_bytes);
    Found { existing, budget }
}
