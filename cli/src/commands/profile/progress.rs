//! Progress of an AppProfile, from its status and the time. Pure.

use jiff::{SignedDuration, Timestamp};
use trilobite_crds::{
    AppProfile,
    condition::{ConditionStatus, ConditionType, find},
};

/// How long the operator may take to accept an AppProfile.
pub(super) const ACCEPT_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
/// How long nodes may take to report the end.
const END_TIMEOUT: SignedDuration = SignedDuration::from_secs(20);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No samples yet.
    Waiting(String),
    Running(String),
    /// Sampling has ended.
    Ended,
    Failed {
        reason: String,
        message: String,
    },
}

/// The step at `now` of a profile that was created at `created`. `live` are samples and lost ones as the agents count them, which
/// the status has later.
pub(super) fn step(profile: &AppProfile, created: Timestamp, now: Timestamp, live: Option<(u64, u64)>) -> Step {
    let status = profile.status.clone().unwrap_or_default();
    let conditions = &status.common.conditions;
    let holds = |kind, wanted| find(conditions, kind).filter(|condition| condition.status == wanted);
    if let Some(refused) = holds(ConditionType::Accepted, ConditionStatus::False) {
        return Step::Failed { reason: refused.reason.clone(), message: refused.message.clone() };
    }
    if holds(ConditionType::Completed, ConditionStatus::True).is_some() {
        return Step::Ended;
    }
    let Some(end) = status.expires_at else {
        if now.duration_since(created) > ACCEPT_TIMEOUT {
            let message = "the operator has not accepted it".into();
            return Step::Failed { reason: "Pending".into(), message };
        }
        return Step::Waiting("waiting for the operator".into());
    };
    if now > end + END_TIMEOUT {
        return Step::Ended;
    }
    let counts = status.common.nodes.unwrap_or_default();
    if let Some(failure) = status.common.failures.first()
        && counts.failing >= counts.desired
    {
        let message = format!("{}: {}", failure.example_node, failure.message);
        return Step::Failed { reason: failure.reason.clone(), message };
    }
    let left = end.duration_since(now).as_secs();
    let reported = status.results.filter(|results| results.nodes > 0).map(|results| {
        let number = |count| u64::try_from(count).unwrap_or_default();
        (number(results.samples), number(results.lost))
    });
    match (live.max(reported), find(conditions, ConditionType::Ready)) {
        (Some((samples, lost)), _) => {
            let lost = if lost > 0 { format!(", {lost} lost") } else { String::new() };
            Step::Running(format!("{samples} samples{lost}, {}", remaining(left)))
        }
        (_, Some(ready)) if ready.status != ConditionStatus::True => {
            Step::Waiting(format!("{} ({}), {}", ready.message, ready.reason, remaining(left)))
        }
        _ => Step::Running(format!("sampling, {}", remaining(left))),
    }
}

fn remaining(seconds: i64) -> String {
    if seconds > 0 { format!("{seconds} s left") } else { "waiting for the nodes to finish".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn profile(status: &str) -> AppProfile {
        serde_yaml::from_str(&format!(
            "{{metadata: {{name: p}}, spec: {{podSelector: {{}}, cpu: {{}}}}, status: {status}}}"
        ))
        .unwrap()
    }

    fn condition(kind: &str, status: &str, reason: &str) -> String {
        format!(
            "{{type: {kind}, status: \"{status}\", reason: {reason}, message: why, lastTransitionTime: \"1970-01-01T00:00:00Z\"}}"
        )
    }

    #[test]
    fn waits_for_the_operator_but_not_forever() {
        assert_eq!(step(&profile("{}"), at(0), at(5), None), Step::Waiting("waiting for the operator".into()));
        let Step::Failed { reason, .. } = step(&profile("{}"), at(0), at(31), None) else { panic!("still waiting") };
        assert_eq!(reason, "Pending");
    }

    #[test]
    fn samples_and_the_time_left_are_shown() {
        let running = profile(r#"{expiresAt: "1970-01-01T00:00:40Z", results: {samples: 120, lost: 3, nodes: 1}}"#);
        assert_eq!(step(&running, at(0), at(28), None), Step::Running("120 samples, 3 lost, 12 s left".into()));
        let Step::Running(text) = step(&running, at(0), at(41), None) else { panic!("not running") };
        assert_eq!(text, "120 samples, 3 lost, waiting for the nodes to finish");
    }

    #[test]
    fn counts_of_the_agents_are_shown_before_those_of_the_status() {
        let accepted = profile(r#"{expiresAt: "1970-01-01T00:00:40Z"}"#);
        let shown = |profile, live| match step(profile, at(0), at(28), live) {
            Step::Running(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(shown(&accepted, Some((49, 0))), "49 samples, 12 s left");
        let reported = profile(r#"{expiresAt: "1970-01-01T00:00:40Z", results: {samples: 120, lost: 3, nodes: 1}}"#);
        assert_eq!(shown(&reported, Some((169, 3))), "169 samples, 3 lost, 12 s left");
        // An agent that cannot be reached any more.
        assert_eq!(shown(&reported, Some((49, 0))), "120 samples, 3 lost, 12 s left");
    }

    #[test]
    fn refusal_is_shown_with_its_reason() {
        let refused = profile(&format!("{{conditions: [{}]}}", condition("Accepted", "False", "LayerDisabled")));
        assert_eq!(
            step(&refused, at(0), at(1), None),
            Step::Failed { reason: "LayerDisabled".into(), message: "why".into() }
        );
    }

    #[test]
    fn failure_on_every_node_ends_the_wait() {
        let failing = profile(
            r#"{expiresAt: "1970-01-01T00:00:40Z", nodes: {desired: 1, failing: 1},
                failures: [{count: 1, exampleNode: birch, reason: PerfParanoid, message: set the sysctl}]}"#,
        );
        assert_eq!(
            step(&failing, at(0), at(1), None),
            Step::Failed { reason: "PerfParanoid".into(), message: "birch: set the sysctl".into() }
        );
    }

    #[test]
    fn ends_by_the_status_or_by_the_timeout() {
        let ended = profile(&format!("{{conditions: [{}]}}", condition("Completed", "True", "DurationElapsed")));
        assert_eq!(step(&ended, at(0), at(1), None), Step::Ended);
        let silent = profile(r#"{expiresAt: "1970-01-01T00:00:40Z"}"#);
        assert_eq!(step(&silent, at(0), at(61), None), Step::Ended);
    }
}
