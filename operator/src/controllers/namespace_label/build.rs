//! The AppProfile that the label asks for, owned by the namespace. Pure.

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{ResourceExt as _, core::PartialObjectMeta};
use trilobite_crds::{AppProfile, AppProfileSpec, CpuSpec};

use super::{
    NAME,
    dereference::{Existing, Found},
    validate::Valid,
};
use crate::children;

/// How long a namespace is profiled, in seconds: the default of an AppProfile.
const DURATION: i64 = 300;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Nothing,
    Make(Box<AppProfile>),
    /// In this namespace.
    Delete(String),
}

pub(super) fn run(namespace: &PartialObjectMeta<Namespace>, valid: &Valid, found: &Found) -> Change {
    match (valid, found.existing) {
        // One that was refused for what the stack allowed then gives way to one that asks for what it allows now.
        (Valid::Cpu { memory_budget_bytes: now }, Existing::Refused { memory_budget_bytes: then }) if *now != then => {
            Change::Delete(namespace.name_any())
        }
        // It cannot change once made, and what has come to its end is not begun again by itself.
        (Valid::Cpu { .. }, Existing::Ours | Existing::Refused { .. } | Existing::Foreign) => Change::Nothing,
        (Valid::Cpu { memory_budget_bytes }, Existing::None) => {
            Change::Make(Box::new(profile(namespace, *memory_budget_bytes)))
        }
        (Valid::NotAsked | Valid::Unknown { .. }, Existing::Ours | Existing::Refused { .. }) => {
            Change::Delete(namespace.name_any())
        }
        (Valid::NotAsked | Valid::Unknown { .. } | Valid::Conflict, _) => Change::Nothing,
    }
}

fn profile(namespace: &PartialObjectMeta<Namespace>, memory_budget_bytes: i64) -> AppProfile {
    let (name, uid) = (namespace.name_any(), namespace.uid().unwrap_or_default());
    let spec = AppProfileSpec {
        pod_selector: LabelSelector::default(),
        cpu: Some(CpuSpec::default()),
        duration_seconds: DURATION,
        memory_budget_bytes,
    };
    let mut profile = AppProfile::new(NAME, spec);
    profile.metadata.labels = Some([(children::MANAGED_BY.to_owned(), children::MANAGER.to_owned())].into());
    profile.metadata.owner_references = Some(vec![children::owner("v1", "Namespace", &name, &uid, false)]);
    profile.metadata.namespace = Some(name);
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Valid = Valid::Cpu { memory_budget_bytes: 16 << 20 };

    fn change(valid: &Valid, existing: Existing) -> Change {
        let mut namespace = PartialObjectMeta::<Namespace>::default();
        namespace.metadata.name = Some("payments".into());
        run(&namespace, valid, &Found { existing, budget: Some(16 << 20) })
    }

    #[test]
    fn one_that_was_refused_for_its_budget_is_made_again_when_the_stack_allows_another() {
        assert_eq!(
            change(&NOW, Existing::Refused { memory_budget_bytes: 32 << 20 }),
            Change::Delete("payments".into())
        );
        assert!(matches!(change(&NOW, Existing::None), Change::Make(_)));
    }

    #[test]
    fn one_that_was_refused_for_another_reason_is_not_made_again_and_again() {
        assert_eq!(change(&NOW, Existing::Refused { memory_budget_bytes: 16 << 20 }), Change::Nothing);
    }
}
