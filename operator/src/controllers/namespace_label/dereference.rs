//! What the label depends on: the AppProfile that was made from it, and the stack's own limit.

use k8s_openapi::api::core::v1::Namespace;
use kube::{ResourceExt as _, core::PartialObjectMeta, runtime::reflector::ObjectRef};
use trilobite_crds::{
    AppProfile,
    condition::{ConditionStatus, ConditionType, find},
    stack::Layer,
};

use super::NAME;
use crate::{
    children::{MANAGED_BY, MANAGER},
    context::Context,
    watch::{Guarded, readable},
};

/// The AppProfile of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    None,
    Ours,
    /// Made here, refused, and never begun: it asked for this many bytes.
    Refused {
        memory_budget_bytes: i64,
    },
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
        Some(profile) => existing(&profile),
    };
    let stack = context.stack();
    let budget = stack.there().and_then(|stack| stack.spec.layer(Layer::Application).memory_budget_bytes);
    Found { existing, budget }
}

fn existing(profile: &Guarded<AppProfile>) -> Existing {
    if profile.labels().get(MANAGED_BY).is_none_or(|who| who != MANAGER) {
        return Existing::Foreign;
    }
    let Ok(profile) = readable(profile) else { return Existing::Ours };
    let status = profile.status.clone().unwrap_or_default();
    let accepted = find(&status.common.conditions, ConditionType::Accepted);
    let refused = accepted.is_some_and(|accepted| accepted.status == ConditionStatus::False);
    if refused && status.started_at.is_none() {
        Existing::Refused { memory_budget_bytes: profile.spec.memory_budget_bytes }
    } else {
        Existing::Ours
    }
}
