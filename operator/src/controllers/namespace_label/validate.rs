//! What the values of the label request. Pure.

use trilobite_crds::app_profile::MIN_PROFILE_BUDGET;

use super::dereference::{DereferencedLabel, ExistingProfile};

pub(super) const SUPPORTED_VALUES: [&str; 1] = ["cpu"];
/// Default of an AppProfile.
const DEFAULT_BUDGET: i64 = 32 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValidatedLabel {
    Absent,
    CpuProfile {
        memory_budget_bytes: i64,
    },
    Unsupported {
        value: String,
    },
    /// A user has created an AppProfile of that name.
    Conflict,
}

pub(super) fn validate(label: Option<&str>, dereferenced: &DereferencedLabel) -> ValidatedLabel {
    let Some(label) = label else { return ValidatedLabel::Absent };
    if let Some(value) = label.split('.').find(|value| !SUPPORTED_VALUES.contains(value)) {
        return ValidatedLabel::Unsupported { value: value.to_owned() };
    }
    if dereferenced.existing == ExistingProfile::Foreign {
        return ValidatedLabel::Conflict;
    }
    let limit = dereferenced.budget.unwrap_or(DEFAULT_BUDGET).max(MIN_PROFILE_BUDGET);
    ValidatedLabel::CpuProfile { memory_budget_bytes: DEFAULT_BUDGET.min(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_profile(budget: Option<i64>) -> DereferencedLabel {
        DereferencedLabel { existing: ExistingProfile::None, budget }
    }

    #[test]
    fn cpu_requests_a_cpu_profile_within_the_stacks_budget() {
        let default = ValidatedLabel::CpuProfile { memory_budget_bytes: 32 << 20 };
        assert_eq!(validate(Some("cpu"), &no_profile(None)), default);
        let small = ValidatedLabel::CpuProfile { memory_budget_bytes: 16 << 20 };
        assert_eq!(validate(Some("cpu"), &no_profile(Some(16 << 20))), small);
    }

    #[test]
    fn one_unsupported_value_makes_the_label_invalid() {
        let unsupported = |value: &str| ValidatedLabel::Unsupported { value: value.into() };
        assert_eq!(validate(Some("cpu.http"), &no_profile(None)), unsupported("http"));
        assert_eq!(validate(Some(""), &no_profile(None)), unsupported(""));
    }

    #[test]
    fn a_users_app_profile_is_a_conflict() {
        let dereferenced = DereferencedLabel { existing: ExistingProfile::Foreign, budget: None };
        assert_eq!(validate(Some("cpu"), &dereferenced), ValidatedLabel::Conflict);
        assert_eq!(validate(None, &dereferenced), ValidatedLabel::Absent);
    }
}
