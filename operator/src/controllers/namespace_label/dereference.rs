//! What the label depends on: the AppProfile that was created from it, and the stack's limit for its memory budget.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt as _,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::reflector::ObjectRef,
};
use trilobite_crds::{
    AppProfile, AppProfileSpec,
    condition::{ConditionStatus, ConditionType, find},
    stack::Layer,
};

use crate::{
    context::Context,
    labels::{APP_PROFILE_FROM_LABEL, MANAGED_BY, MANAGER},
};

/// The AppProfile `from-label` in the namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExistingProfile {
    None,
    /// Created by the operator.
    Managed(Box<AppProfileSpec>),
    /// Created by the operator, and refused before it started.
    Refused(Box<AppProfileSpec>),
    /// Created by the operator, and not readable by this version.
    Unreadable,
    /// Created by a user.
    Foreign,
}

pub(super) struct DereferencedLabel {
    pub(super) existing: ExistingProfile,
    /// The application layer's memory budget, if the stack sets one.
    pub(super) budget: Option<i64>,
}

pub(super) fn dereference(namespace: &PartialObjectMeta<Namespace>, context: &Context) -> DereferencedLabel {
    let profile = ObjectRef::new(APP_PROFILE_FROM_LABEL).within(&namespace.name_any());
    let existing = match context.stores.profiles.get(&profile) {
        None => ExistingProfile::None,
        Some(profile) => classify(&profile),
    };
    let stack = context.stack();
    let budget = stack.present().and_then(|stack| stack.spec.layer(Layer::Application).memory_budget_bytes);
    DereferencedLabel { existing, budget }
}

fn classify(profile: &DeserializeGuard<AppProfile>) -> ExistingProfile {
    if profile.labels().get(MANAGED_BY).is_none_or(|manager| manager != MANAGER) {
        return ExistingProfile::Foreign;
    }
    let Ok(profile) = &profile.0 else { return ExistingProfile::Unreadable };
    let status = profile.status.clone().unwrap_or_default();
    let accepted = find(&status.common.conditions, ConditionType::Accepted);
    let refused = accepted.is_some_and(|accepted| accepted.status == ConditionStatus::False);
    let spec = Box::new(profile.spec.clone());
    if refused && status.started_at.is_none() { ExistingProfile::Refused(spec) } else { ExistingProfile::Managed(spec) }
}
