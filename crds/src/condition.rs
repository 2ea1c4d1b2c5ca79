//! Conditions: their schema, and how newly evaluated ones are merged with the previous ones. Time is an argument.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::{bounds::REASON, reason::Reason};

/// Most characters of a message.
pub const MAX_MESSAGE: usize = 256;
/// The same limit, in the type of a validated length.
pub(crate) const MESSAGE_LENGTH: u64 = MAX_MESSAGE as u64;

/// One condition.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Time at which `status` last changed.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// What is the case, where, and what to do; at most 256 characters.
    #[serde(default)]
    #[validate(length(max = MESSAGE_LENGTH))]
    pub message: String,
    /// Generation of the spec that the condition is about.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub observed_generation: i64,
    /// Reason: one word that never changes; docs/reasons.md explains each.
    #[validate(length(min = 1, max = 64), regex(path = *REASON, message = "must be one word, e.g. InvalidSpec"))]
    pub reason: String,
    /// Whether the condition holds: `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// What the condition is about, e.g. `Ready`.
    pub r#type: ConditionType,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Not known yet.
    Unknown,
}

/// What a condition is about, in order of importance: the order in which a status lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The spec is active on enough nodes.
    Ready,
    /// Every counted node was given the spec and has answered.
    Programmed,
    /// The spec is valid and supported.
    Accepted,
    /// At least one node has a problem; `Ready` tolerates a few.
    Degraded,
    /// Rows of requests were made; information alone, of AppProfiles that ask for requests and of a stack with a standing
    /// profile.
    RowsSeen,
    /// The relay serves `read.trilobite.dev`, and reads from every node; of the stack only.
    RelayReady,
    /// A change is under way; listed only while true.
    Reconciling,
    /// No progress without a change by a user; listed only while true.
    Stalled,
    /// Work that has an end has ended.
    Completed,
}

impl ConditionType {
    /// The meaning while the condition is true, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ready => "The spec is active on enough nodes: all but 1 %.",
            Self::Programmed => "Every counted node was given the spec and has answered.",
            Self::Accepted => "The spec is valid and supported.",
            Self::Degraded => "At least one node has a problem; `Ready` tolerates a few.",
            Self::RowsSeen => "Rows of requests were made; where not, the reason says why.",
            Self::RelayReady => "The relay serves `read.trilobite.dev`, and reads from every node.",
            Self::Reconciling => "A change is under way; listed only while true.",
            Self::Stalled => "No progress without a change by a user; listed only while true.",
            Self::Completed => "Work that has an end has ended.",
        }
    }

    /// Whether a status lists conditions of this type only while they are true.
    pub fn only_while_true(self) -> bool {
        matches!(self, Self::Reconciling | Self::Stalled)
    }
}

/// A condition as evaluated, before the time of its last change is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What the condition is about.
    pub r#type: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// What is the case, where, and what to do.
    pub message: String,
}

impl Finding {
    /// Makes a finding; `merge` cuts the message at 256 characters.
    pub fn new(r#type: ConditionType, status: ConditionStatus, reason: Reason, message: impl Into<String>) -> Self {
        Self { r#type, status, reason, message: message.into() }
    }
}

/// The conditions that follow from `findings`: in order of importance, each with the time at which its status last changed.
/// Of several findings about one type the last counts. A type without a finding is removed.
pub fn merge(previous: &[Condition], findings: &[Finding], generation: i64, now: Timestamp) -> Vec<Condition> {
    let mut merged: Vec<Condition> = Vec::with_capacity(findings.len());
    for finding in findings {
        merged.retain(|condition| condition.r#type != finding.r#type);
        if finding.r#type.only_while_true() && finding.status != ConditionStatus::True {
            continue;
        }
        let unchanged =
            previous.iter().find(|before| before.r#type == finding.r#type && before.status == finding.status);
        merged.push(Condition {
            last_transition_time: unchanged.map_or_else(|| whole_second(now), |before| before.last_transition_time),
            message: cut(&finding.message, MAX_MESSAGE),
            observed_generation: generation,
            reason: finding.reason.as_str().into(),
            status: finding.status,
            r#type: finding.r#type,
        });
    }
    merged.sort_by_key(|condition| condition.r#type);
    merged
}

/// The condition of one type.
pub fn find(conditions: &[Condition], r#type: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.r#type == r#type)
}

/// At most `limit` characters, with an ellipsis where something was left out.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.into();
    }
    let mut kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

/// Kubernetes writes times to the second; anything finer would change at each round trip.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(status: ConditionStatus, message: &str) -> Finding {
        Finding::new(ConditionType::Ready, status, Reason::Progressing, message)
    }

    #[test]
    fn a_condition_that_keeps_its_status_keeps_its_time() {
        let first = merge(&[], &[ready(ConditionStatus::False, "0 of 2")], 1, at(10));
        let second = merge(&first, &[ready(ConditionStatus::False, "1 of 2")], 2, at(20));
        assert_eq!(second[0].last_transition_time, at(10));
        assert_eq!((second[0].message.as_str(), second[0].observed_generation), ("1 of 2", 2));
    }

    #[test]
    fn a_condition_whose_status_changes_gets_the_time_of_the_change() {
        let first = merge(&[], &[ready(ConditionStatus::False, "")], 1, at(10));
        let second = merge(&first, &[ready(ConditionStatus::True, "")], 1, at(20));
        assert_eq!(second[0].last_transition_time, at(20));
    }

    #[test]
    fn conditions_are_sorted_by_importance() {
        let findings = [
            Finding::new(ConditionType::Degraded, ConditionStatus::False, Reason::AsExpected, ""),
            Finding::new(ConditionType::Accepted, ConditionStatus::True, Reason::Valid, ""),
            ready(ConditionStatus::True, ""),
            Finding::new(ConditionType::Programmed, ConditionStatus::True, Reason::AllNodesApplied, ""),
        ];
        let types: Vec<_> = merge(&[], &findings, 1, at(0)).iter().map(|c| c.r#type).collect();
        use ConditionType::*;
        assert_eq!(types, [Ready, Programmed, Accepted, Degraded]);
    }

    #[test]
    fn an_abnormal_condition_is_listed_only_while_it_is_true() {
        let stalled = |status| Finding::new(ConditionType::Stalled, status, Reason::InvalidSpec, "");
        let first = merge(&[], &[stalled(ConditionStatus::True)], 1, at(0));
        assert_eq!(first.len(), 1);
        assert!(merge(&first, &[stalled(ConditionStatus::False)], 1, at(1)).is_empty());
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let merged = merge(&[], &[ready(ConditionStatus::True, &"é".repeat(300))], 1, at(0));
        assert_eq!(merged[0].message.chars().count(), 256);
        assert!(merged[0].message.ends_with('…'));
    }

    #[test]
    fn a_time_finer_than_a_second_survives_a_round_trip() {
        let merged = merge(&[], &[ready(ConditionStatus::True, "")], 1, Timestamp::new(7, 999_999_999).unwrap());
        let text = serde_json::to_string(&merged).unwrap();
        assert!(text.contains("1970-01-01T00:00:07Z"), "{text}");
        assert_eq!(serde_json::from_str::<Vec<Condition>>(&text).unwrap(), merged);
    }
}
