//! The AppProfile that the label requests, owned by the namespace. Pure.

use k8s_openapi::api::core::v1::Namespace;
use kube::{ResourceExt as _, core::PartialObjectMeta};
use trilobite_crds::{AppProfile, AppProfileSpec};

use super::{
    dereference::{DereferencedLabel, ExistingProfile},
    validate::ValidatedLabel,
};
use crate::labels::{APP_PROFILE_FROM_LABEL, MANAGED_BY, MANAGER, owner_reference};

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
    let delete = || ProfileChange::Delete(namespace.name_any());
    match (validated, &dereferenced.existing) {
        (ValidatedLabel::Requested(spec), Existing::None) => {
            ProfileChange::Create(Box::new(app_profile(namespace, (**spec).clone())))
        }
        // The spec is immutable: a profile of other words, or one that was refused and would be another now, is deleted and
        // created again.
        (ValidatedLabel::Requested(spec), Existing::Refused(existing)) if spec != existing => delete(),
        (ValidatedLabel::Requested(spec), Existing::Managed(existing)) if !same_words(spec, existing) => delete(),
        // A completed profile is not started again.
        (ValidatedLabel::Requested(_), _) => ProfileChange::None,
        (
            ValidatedLabel::Absent | ValidatedLabel::Unsupported(_),
            Existing::Managed(_) | Existing::Refused(_) | Existing::Unreadable,
        ) => delete(),
        (ValidatedLabel::Absent | ValidatedLabel::Unsupported(_) | ValidatedLabel::Conflict, _) => ProfileChange::None,
    }
}

/// Whether the same words made both. The budget follows the stack, and a profile that runs keeps the one it has.
fn same_words(one: &AppProfileSpec, other: &AppProfileSpec) -> bool {
    let words = |spec: &AppProfileSpec| AppProfileSpec { memory_budget_bytes: 0, ..spec.clone() };
    words(one) == words(other)
}

fn app_profile(namespace: &PartialObjectMeta<Namespace>, spec: AppProfileSpec) -> AppProfile {
    let (name, uid) = (namespace.name_any(), namespace.uid().unwrap_or_default());
    let mut profile = AppProfile::new(APP_PROFILE_FROM_LABEL, spec);
    profile.metadata.labels = Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into());
    profile.metadata.owner_references = Some(vec![owner_reference("v1", "Namespace", &name, &uid, false)]);
    profile.metadata.namespace = Some(name);
    profile
}

#[cfg(test)]
mod tests {
    use super::{super::validate::validate, *};

    fn spec(label: &str, budget: i64) -> Box<AppProfileSpec> {
        let dereferenced = DereferencedLabel { existing: ExistingProfile::None, budget: Some(budget) };
        match validate(Some(label), &dereferenced) {
            ValidatedLabel::Requested(spec) => spec,
            other => panic!("{other:?}"),
        }
    }

    fn change(label: &str, existing: ExistingProfile) -> ProfileChange {
        let mut namespace = PartialObjectMeta::<Namespace>::default();
        namespace.metadata.name = Some("payments".into());
        let dereferenced = DereferencedLabel { existing, budget: Some(16 << 20) };
        build(&namespace, &validate(Some(label), &dereferenced), &dereferenced)
    }

    #[test]
    fn a_profile_refused_for_its_budget_is_created_again_with_another() {
        assert_eq!(
            change("cpu", ExistingProfile::Refused(spec("cpu", 32 << 20))),
            ProfileChange::Delete("payments".into())
        );
        assert!(matches!(change("cpu", ExistingProfile::None), ProfileChange::Create(_)));
    }

    #[test]
    fn a_profile_refused_for_another_reason_is_not_created_again() {
        assert_eq!(change("cpu", ExistingProfile::Refused(spec("cpu", 16 << 20))), ProfileChange::None);
    }

    #[test]
    fn other_words_make_another_profile() {
        let delete = ProfileChange::Delete("payments".into());
        assert_eq!(change("http.15m", ExistingProfile::Managed(spec("cpu", 16 << 20))), delete);
        assert_eq!(change("http.15m", ExistingProfile::Managed(spec("http.5m", 16 << 20))), delete);
        assert_eq!(change("http.15m", ExistingProfile::Refused(spec("http", 16 << 20))), delete);
        let reordered = ExistingProfile::Managed(spec("15m.http", 32 << 20));
        assert_eq!(change("http.15m", reordered), ProfileChange::None, "with the budget of before");
        assert_eq!(change("htp", ExistingProfile::Managed(spec("http", 16 << 20))), delete);
        assert_eq!(change("http", ExistingProfile::Foreign), ProfileChange::None);
    }
}
