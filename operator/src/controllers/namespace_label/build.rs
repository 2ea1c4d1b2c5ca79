//! The AppProfile that the label requests, owned by the namespace. Pure.

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{ResourceExt as _, core::PartialObjectMeta};
use trilobite_crds::{AppProfile, AppProfileSpec, CpuSpec};

use super::{
    dereference::{DereferencedLabel, ExistingProfile},
    validate::ValidatedLabel,
};
use crate::labels::{APP_PROFILE_FROM_LABEL, MANAGED_BY, MANAGER, owner_reference};

/// Duration of the profile in seconds: the default of an AppProfile.
const DURATION: i64 = 300;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ProfileChange {
    None,
    Create(Box<AppProfile>),
    /// In this namespace.
    Delete(String),
}

pub(super) fn build(
    namespace: &PartialObjectMeta<Namespace>,
    validated: &ValidatedLabel,
    dereferenced: &DereferencedLabel,
) -> ProfileChange {
    use ExistingProfile as Existing;
    match (validated, dereferenced.existing) {
        // The spec is immutable: a profile that was refused for its budget is deleted, and created again with another
        // one.
        (
            ValidatedLabel::CpuProfile { memory_budget_bytes: new },
            Existing::Refused { memory_budget_bytes: refused },
        ) if *new != refused => ProfileChange::Delete(namespace.name_any()),
        // A completed profile is not started again.
        (ValidatedLabel::CpuProfile { .. }, Existing::Managed | Existing::Refused { .. } | Existing::Foreign) => {
            ProfileChange::None
        }
        (ValidatedLabel::CpuProfile { memory_budget_bytes }, Existing::None) => {
            ProfileChange::Create(Box::new(app_profile(namespace, *memory_budget_bytes)))
        }
        (ValidatedLabel::Absent | ValidatedLabel::Unsupported { .. }, Existing::Managed | Existing::Refused { .. }) => {
            ProfileChange::Delete(namespace.name_any())
        }
        (ValidatedLabel::Absent | ValidatedLabel::Unsupported { .. } | ValidatedLabel::Conflict, _) => {
            ProfileChange::None
        }
    }
}

fn app_profile(namespace: &PartialObjectMeta<Namespace>, memory_budget_bytes: i64) -> AppProfile {
    let (name, uid) = (namespace.name_any(), namespace.uid().unwrap_or_default());
    let spec = AppProfileSpec {
        pod_selector: LabelSelector::default(),
        cpu: Some(CpuSpec::default()),
        duration_seconds: DURATION,
        memory_budget_bytes,
        ttl_seconds_after_finished: None,
    };
    let mut profile = AppProfile::new(APP_PROFILE_FROM_LABEL, spec);
    profile.metadata.labels = Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into());
    profile.metadata.owner_references = Some(vec![owner_reference("v1", "Namespace", &name, &uid, false)]);
    profile.metadata.namespace = Some(name);
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTED: ValidatedLabel = ValidatedLabel::CpuProfile { memory_budget_bytes: 16 << 20 };

    fn change(validated: &ValidatedLabel, existing: ExistingProfile) -> ProfileChange {
        let mut namespace = PartialObjectMeta::<Namespace>::default();
        namespace.metadata.name = Some("payments".into());
        build(&namespace, validated, &DereferencedLabel { existing, budget: Some(16 << 20) })
    }

    #[test]
    fn a_profile_refused_for_its_budget_is_created_again_with_another() {
        assert_eq!(
            change(&REQUESTED, ExistingProfile::Refused { memory_budget_bytes: 32 << 20 }),
            ProfileChange::Delete("payments".into())
        );
        assert!(matches!(change(&REQUESTED, ExistingProfile::None), ProfileChange::Create(_)));
    }

    #[test]
    fn a_profile_refused_for_another_reason_is_not_created_again() {
        let refused = ExistingProfile::Refused { memory_budget_bytes: 16 << 20 };
        assert_eq!(change(&REQUESTED, refused), ProfileChange::None);
    }
}
