//! Counts and findings of the resources that users write.

use kube::{Resource, ResourceExt};
use serde::Serialize;
use trilobite_crds::{
    Failure, UserKind,
    condition::{Condition, ConditionStatus, ConditionType, find},
    user_kind::is_dry_run,
};

use super::finding::Finding;

/// How many objects of one kind there are, and how many of them are in order.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindCount {
    pub(crate) kind: String,
    pub(crate) total: usize,
    pub(crate) in_order: usize,
}

/// None if the kind could not be read.
pub(super) fn count<K: UserKind>(
    objects: Option<&[K]>,
    namespace: &str,
    wrong: &mut Vec<Finding>,
) -> Option<KindCount> {
    let objects = objects?;
    let found: Vec<Vec<Finding>> = objects.iter().map(|object| findings(object, namespace)).collect();
    let in_order = found.iter().filter(|of_one| of_one.is_empty()).count();
    wrong.extend(found.into_iter().flatten());
    Some(KindCount { kind: K::kind(&()).into_owned(), total: objects.len(), in_order })
}

/// Findings about one object: its groups of failures, or else why it is not ready, or else what is degraded.
pub(super) fn findings<K: UserKind>(object: &K, namespace: &str) -> Vec<Finding> {
    // Its answer is for the user who asked; nothing of it was to be active.
    if is_dry_run(object.meta()) {
        return Vec::new();
    }
    let name = object.source().to_string();
    let describe = format!("see 'kubectl describe {}{}'", K::plural(&()), object_args(object));
    let found = |reason: &str, message: &str| Finding::new(name.clone(), reason, message, &describe, namespace);
    let Some(status) = object.common_status() else {
        return vec![found("Pending", "the operator has not processed it yet")];
    };
    let failures: Vec<Finding> =
        status.failures.iter().map(|failure| found(&failure.reason, &failure_message(failure))).collect();
    let conditions = &status.conditions;
    if !failures.is_empty() {
        return failures;
    }
    // A completed resource is rightly not ready, unless it ended without having been able to start.
    if holds(conditions, ConditionType::Completed) {
        let stalled = find(conditions, ConditionType::Stalled).filter(|one| one.status == ConditionStatus::True);
        return stalled.map(|condition| found(&condition.reason, &condition.message)).into_iter().collect();
    }
    // The reason of Accepted=False explains more than Ready=False does.
    let accepted = find(conditions, ConditionType::Accepted).filter(|one| one.status == ConditionStatus::False);
    match accepted.or_else(|| find(conditions, ConditionType::Ready)) {
        Some(condition) if condition.status == ConditionStatus::True => {
            // Enough is active to be ready, and something is wrong all the same.
            let wrong = [ConditionType::Stalled, ConditionType::Degraded].map(|kind| find(conditions, kind));
            let wrong = wrong.into_iter().flatten().find(|condition| condition.status == ConditionStatus::True);
            wrong.map(|condition| found(&condition.reason, &condition.message)).into_iter().collect()
        }
        Some(condition) => vec![found(&condition.reason, &condition.message)],
        None => vec![found("Pending", "the operator has not processed it yet")],
    }
}

fn failure_message(failure: &Failure) -> String {
    let Failure { count, example_node, kernel, message, reason: _ } = failure;
    let nodes = if *count == 1 { "node" } else { "nodes" };
    let kernel = if kernel.is_empty() { String::new() } else { format!(", kernel {kernel}") };
    format!("on {count} {nodes} (e.g. {example_node}{kernel}): {message}")
}

pub(super) fn holds(conditions: &[Condition], r#type: ConditionType) -> bool {
    find(conditions, r#type).is_some_and(|condition| condition.status == ConditionStatus::True)
}

fn object_args<K: Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!(" -n {namespace} {}", object.name_any()),
        None => format!(" {}", object.name_any()),
    }
}
