//! Something that is not in order, and what to do about it.

use serde::Serialize;

use super::messages::{meaning, next};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// `TracingPolicy/watch-openat`
    pub(crate) object: String,
    /// Names of further objects of the kind that are affected in the same way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<String>,
    pub(crate) reason: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meaning: Option<&'static str>,
    pub(crate) next: String,
}

impl Finding {
    /// `describe` is the next step for reasons without one of their own; `namespace` is where Trilobite is installed.
    pub(super) fn new(object: String, reason: &str, message: &str, describe: &str, namespace: &str) -> Self {
        Self {
            object,
            others: Vec::new(),
            reason: reason.into(),
            message: message.into(),
            meaning: meaning(reason).filter(|meaning| !says_the_same(meaning, message)),
            next: next(reason, describe, namespace),
        }
    }

    /// With exactly this next step.
    pub(super) fn with_next(object: String, reason: &str, message: String, next: String) -> Self {
        Self { object, others: Vec::new(), reason: reason.into(), message, meaning: None, next }
    }

    fn kind_and_name(&self) -> (&str, &str) {
        self.object.split_once('/').unwrap_or((&self.object, ""))
    }
}

/// Objects of one kind with the same reason and message become one entry, at the place of the first.
pub(super) fn grouped(findings: Vec<Finding>) -> Vec<Finding> {
    let mut groups: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let same = |group: &&mut Finding| {
            group.kind_and_name().0 == finding.kind_and_name().0
                && group.reason == finding.reason
                && group.message == finding.message
                && group.object != finding.object
        };
        match groups.iter_mut().find(same) {
            Some(group) => {
                let name = finding.kind_and_name().1.to_owned();
                if !group.others.contains(&name) {
                    group.others.push(name);
                }
            }
            None => groups.push(finding),
        }
    }
    groups
}

/// Apart from the first letter's case and the full stop.
fn says_the_same(meaning: &str, message: &str) -> bool {
    meaning.trim_end_matches('.').eq_ignore_ascii_case(message.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_hit_by_one_cause_are_one_entry() {
        let finding = |object: &str, message: &str| Finding::new(object.into(), "Pending", message, "see", "fossils");
        let groups = grouped(vec![
            finding("TracingPolicy/a", "one"),
            finding("TracingPolicy/b", "one"),
            finding("AppProfile/c", "one"),
            finding("TracingPolicy/d", "two"),
        ]);
        let objects: Vec<&str> = groups.iter().map(|group| group.object.as_str()).collect();
        assert_eq!(objects, ["TracingPolicy/a", "AppProfile/c", "TracingPolicy/d"]);
        assert_eq!(groups[0].others, ["b"]);
    }
}
