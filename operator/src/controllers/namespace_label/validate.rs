//! What the values of the label request. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use trilobite_crds::{
    AppProfileSpec, CpuSpec, RequestsSpec,
    app_profile::{DEFAULT_PROFILE_BUDGET, MIN_PROFILE_BUDGET},
};

use super::{
    dereference::{DereferencedLabel, ExistingProfile},
    label_value::{Words, WrongWord, parse},
};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValidatedLabel {
    Absent,
    /// The spec of the AppProfile.
    Requested(Box<AppProfileSpec>),
    Unsupported(WrongWord),
    /// A user has created an AppProfile of that name.
    Conflict,
}

pub(super) fn validate(label: Option<&str>, dereferenced: &DereferencedLabel) -> ValidatedLabel {
    let Some(label) = label else { return ValidatedLabel::Absent };
    let words = match parse(label) {
        Ok(words) => words,
        Err(wrong) => return ValidatedLabel::Unsupported(wrong),
    };
    if dereferenced.existing == ExistingProfile::Foreign {
        return ValidatedLabel::Conflict;
    }
    let limit = dereferenced.budget.unwrap_or(DEFAULT_PROFILE_BUDGET).max(MIN_PROFILE_BUDGET);
    ValidatedLabel::Requested(Box::new(spec(&words, DEFAULT_PROFILE_BUDGET.min(limit))))
}

fn spec(words: &Words, memory_budget_bytes: i64) -> AppProfileSpec {
    let requests = |protocols| RequestsSpec { protocols, ..RequestsSpec::default() };
    AppProfileSpec {
        pod_selector: LabelSelector::default(),
        cpu: words.cpu.then(CpuSpec::default),
        requests: words.requests.as_ref().map(|requested| requests(requested.to_list())),
        duration_seconds: words.seconds,
        memory_budget_bytes,
        ..AppProfileSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::RequestProtocol;

    use super::*;

    fn no_profile(budget: Option<i64>) -> DereferencedLabel {
        DereferencedLabel { existing: ExistingProfile::None, budget }
    }

    fn requested(label: &str, budget: Option<i64>) -> AppProfileSpec {
        match validate(Some(label), &no_profile(budget)) {
            ValidatedLabel::Requested(spec) => *spec,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_request_a_profile_within_the_stacks_budget() {
        let cpu = requested("cpu", None);
        assert_eq!((cpu.memory_budget_bytes, cpu.duration_seconds), (32 << 20, 300));
        assert_eq!((cpu.cpu, cpu.requests), (Some(CpuSpec::default()), None));
        let both = requested("cpu.redis.dns.15m", Some(16 << 20));
        assert_eq!((both.memory_budget_bytes, both.duration_seconds), (16 << 20, 900));
        assert!(both.cpu.is_some());
        assert_eq!(both.requests.unwrap().protocols, [RequestProtocol::Redis, RequestProtocol::Dns]);
        assert_eq!(requested("all", None).requests, Some(RequestsSpec::default()), "no list means all");
    }

    #[test]
    fn one_wrong_word_makes_the_label_invalid() {
        let wrong = validate(Some("cpu.nfs"), &no_profile(None));
        assert_eq!(wrong, ValidatedLabel::Unsupported(WrongWord::Unknown("nfs".into())));
        let empty = validate(Some(""), &no_profile(None));
        assert_eq!(empty, ValidatedLabel::Unsupported(WrongWord::Unknown(String::new())));
    }

    #[test]
    fn a_users_app_profile_is_a_conflict() {
        let dereferenced = DereferencedLabel { existing: ExistingProfile::Foreign, budget: None };
        assert_eq!(validate(Some("cpu"), &dereferenced), ValidatedLabel::Conflict);
        assert_eq!(validate(None, &dereferenced), ValidatedLabel::Absent);
    }
}
