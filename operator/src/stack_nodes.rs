//! `NodeSelection`: which nodes belong to a stack; of these a policy may select some (`policy_nodes.rs` of `crds`). They are the nodes
//! on which the scheduler places the DaemonSet's pods, so the rules for node selector, taints and tolerations are the scheduler's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use trilobite_crds::ObservabilityStack;

/// Taints that the DaemonSet controller tolerates for every pod; the last one only for pods in the host's network.
const ALWAYS_TOLERATED: [&str; 7] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
    "node.kubernetes.io/network-unavailable",
];

/// Label that the kubelet sets to the operating system.
const OS: &str = "kubernetes.io/os";

/// Agents and the relay run on Linux only; a stack that selects another system explicitly is not overridden.
pub(crate) fn on_linux(node_selector: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut node_selector = node_selector.clone();
    node_selector.entry(OS.into()).or_insert_with(|| "linux".into());
    node_selector
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeSelection {
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
    /// When the stack was created: nodes that are older have no grace period.
    pub(crate) stack_created: Option<Timestamp>,
}

impl NodeSelection {
    pub(crate) fn from_stack(stack: &ObservabilityStack) -> Self {
        let runtime = &stack.spec.runtime;
        let all = || vec![Toleration { operator: Some("Exists".into()), ..Toleration::default() }];
        Self {
            node_selector: on_linux(&runtime.node_selector),
            tolerations: runtime
                .tolerations
                .as_ref()
                .map_or_else(all, |listed| listed.iter().map(Into::into).collect()),
            stack_created: stack.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }

    /// Whether the DaemonSet has or will have a pod on the node. Only NoExecute evicts a pod that already runs there.
    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>, taints: &[Taint], has_pod: bool) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && taints.iter().all(|taint| self.tolerates(taint, has_pod))
    }

    fn tolerates(&self, taint: &Taint, has_pod: bool) -> bool {
        taint.effect == "PreferNoSchedule"
            || (has_pod && taint.effect != "NoExecute")
            || ALWAYS_TOLERATED.contains(&taint.key.as_str())
            || self.tolerations.iter().any(|toleration| matches_taint(toleration, taint))
    }
}

fn matches_taint(toleration: &Toleration, taint: &Taint) -> bool {
    let exists = toleration.operator.as_deref() == Some("Exists");
    let key = toleration.key.as_deref().filter(|key| !key.is_empty());
    let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
    let value = || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect.is_none_or(|effect| effect == taint.effect)
        && key.map_or(exists, |key| key == taint.key)
        && (exists || value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), value: None, time_added: None }
    }

    fn selection(selector: &[(&str, &str)], tolerations: Vec<Toleration>) -> NodeSelection {
        let node_selector = selector.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        NodeSelection { node_selector, tolerations, stack_created: None }
    }

    #[test]
    fn a_node_without_the_selected_label_is_not_selected() {
        let selection = selection(&[("disk", "coral")], Vec::new());
        assert!(!selection.selects(&BTreeMap::new(), &[], false));
        assert!(selection.selects(&BTreeMap::from([("disk".into(), "coral".into())]), &[], false));
    }

    #[test]
    fn an_untolerated_taint_excludes_a_node_unless_daemon_sets_ignore_it() {
        let selection = selection(&[], Vec::new());
        assert!(!selection.selects(&BTreeMap::new(), &[taint("reserved", "NoSchedule")], false));
        assert!(selection.selects(&BTreeMap::new(), &[taint("reserved", "PreferNoSchedule")], false));
        assert!(selection.selects(&BTreeMap::new(), &[taint("node.kubernetes.io/unschedulable", "NoSchedule")], false));
    }

    #[test]
    fn a_stack_without_tolerations_tolerates_every_taint_of_a_linux_node() {
        let selection = NodeSelection::from_stack(&ObservabilityStack::default());
        let labels = |os: &str| BTreeMap::from([(OS.to_owned(), os.to_owned())]);
        assert!(selection.selects(&labels("linux"), &[taint("reserved", "NoExecute")], false));
        assert!(!selection.selects(&labels("windows"), &[], false));
    }

    #[test]
    fn a_node_closed_to_new_pods_keeps_its_running_agent() {
        let selection = selection(&[], Vec::new());
        let (closed, cleared) = ([taint("reserved", "NoSchedule")], [taint("reserved", "NoExecute")]);
        assert!(selection.selects(&BTreeMap::new(), &closed, true));
        assert!(!selection.selects(&BTreeMap::new(), &cleared, true));
    }

    #[test]
    fn a_toleration_with_a_value_tolerates_only_that_value() {
        let toleration = Toleration { key: Some("team".into()), value: Some("ink".into()), ..Toleration::default() };
        let selection = selection(&[], vec![toleration]);
        let team = |value: &str| Taint { value: Some(value.into()), ..taint("team", "NoSchedule") };
        assert!(selection.selects(&BTreeMap::new(), &[team("ink")], false));
        assert!(!selection.selects(&BTreeMap::new(), &[team("kelp")], false));
    }
}
