//! Labels that select one pod, with as few others as its labels allow. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// For `matchLabels`.
    pub(super) labels: BTreeMap<String, String>,
    /// Other pods that have them too.
    pub(super) others: Vec<String>,
}

/// A label that no other pod of the namespace has with this value; otherwise all labels, and the other pods that have
/// them. None for a pod without labels.
pub(super) fn select(pod: &Pod, namespace: &[Pod]) -> Option<Selected> {
    let own = pod.labels();
    if own.is_empty() {
        return None;
    }
    let name = pod.name_any();
    let others = || namespace.iter().filter(|other| other.name_any() != name && !has_finished(other));
    let unique = own.iter().find(|(key, value)| others().all(|other| other.labels().get(*key) != Some(value)));
    let labels = match unique {
        Some((key, value)) => [(key.clone(), value.clone())].into(),
        None => own.clone(),
    };
    let has_all = |other: &&Pod| labels.iter().all(|(key, value)| other.labels().get(key) == Some(value));
    let mut names: Vec<String> = others().filter(has_all).map(ResourceExt::name_any).collect();
    names.sort();
    Some(Selected { labels, others: names })
}

/// A finished pod has no processes, so it does not matter whether it matches.
fn has_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;

    use super::*;

    fn pod(name: &str, labels: &[(&str, &str)]) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.labels = Some(labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect());
        pod
    }

    #[test]
    fn one_unique_label_is_enough() {
        let till = pod("till-0", &[("app", "till"), ("statefulset.kubernetes.io/pod-name", "till-0")]);
        let other = pod("till-1", &[("app", "till"), ("statefulset.kubernetes.io/pod-name", "till-1")]);
        let selected = select(&till, &[till.clone(), other]).unwrap();
        assert_eq!(selected.labels, [("statefulset.kubernetes.io/pod-name".into(), "till-0".into())].into());
        assert!(selected.others.is_empty());
    }

    #[test]
    fn without_a_unique_label_all_are_used_and_others_listed() {
        let labels = [("app", "till"), ("pod-template-hash", "7f")];
        let till = pod("till-a", &labels);
        let twin = pod("till-b", &labels);
        let cousin = pod("till-c", &[("app", "till"), ("pod-template-hash", "8a")]);
        let half = pod("shelf", &[("pod-template-hash", "7f")]);
        let selected = select(&till, &[twin, cousin, half]).unwrap();
        assert_eq!(selected.labels.len(), 2);
        assert_eq!(selected.others, ["till-b"]);
    }

    #[test]
    fn finished_pod_does_not_count() {
        let mut gone = pod("till-b", &[("app", "till")]);
        gone.status = Some(PodStatus { phase: Some("Succeeded".into()), ..PodStatus::default() });
        let till = pod("till-a", &[("app", "till")]);
        assert!(select(&till, &[gone]).unwrap().others.is_empty());
    }

    #[test]
    fn pod_without_labels_cannot_be_selected() {
        assert_eq!(select(&pod("till", &[]), &[]), None);
    }
}
