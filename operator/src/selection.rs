//! Which nodes are a stack's: those on which its DaemonSet has a pod. The same rules as the scheduler's, for one DaemonSet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use trilobite_crds::ObservabilityStack;

/// The DaemonSet controller adds tolerations for these to every pod, and those of host-network pods for the last.
const ALWAYS_TOLERATED: [&str; 7] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
    "node.kubernetes.io/network-unavailable",
];

/// The kubelet labels every node with its operating system.
const OS: &str = "kubernetes.io/os";

/// The nodes of a stack, by rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fleet {
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
    /// Nodes that were there before this are counted from the start.
    pub(crate) since: Option<Timestamp>,
}

impl Fleet {
    pub(crate) fn of(stack: &ObservabilityStack) -> Self {
        let runtime = &stack.spec.runtime;
        // The agent is a program for Linux; a stack that says otherwise is taken at its word.
        let mut node_selector = runtime.node_selector.clone();
        node_selector.entry(OS.into()).or_insert_with(|| "linux".into());
        let all = || vec![Toleration { operator: Some("Exists".into()), ..Toleration::default() }];
        Self {
            node_selector,
            tolerations: runtime.tolerations.as_ref().map_or_else(all, |some| some.iter().map(Into::into).collect()),
            since: stack.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }

    /// Whether the DaemonSet has a pod there, or will have one. A pod that `runs` already is driven away by NoExecute alone.
    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>, taints: &[Taint], runs: bool) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && taints.iter().all(|taint| self.stands(taint, runs))
    }

    fn stands(&self, taint: &Taint, runs: bool) -> bool {
        taint.effect == "PreferNoSchedule"
            || (runs && taint.effect != "NoExecute")
            || ALWAYS_TOLERATED.contains(&taint.key.as_str())
            || self.tolerations.iter().any(|toleration| tolerates(toleration, taint))
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
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

    fn fleet(selector: &[(&str, &str)], tolerations: Vec<Toleration>) -> Fleet {
        let node_selector = selector.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Fleet { node_selector, tolerations, since: None }
    }

    #[test]
    fn a_node_without_a_selected_label_is_not_the_stacks() {
        let fleet = fleet(&[("disk", "coral")], Vec::new());
        assert!(!fleet.selects(&BTreeMap::new(), &[], false));
        assert!(fleet.selects(&BTreeMap::from([("disk".into(), "coral".into())]), &[], false));
    }

    #[test]
    fn a_taint_that_nobody_tolerates_keeps_the_node_out_unless_every_daemon_set_tolerates_it() {
        let fleet = fleet(&[], Vec::new());
        assert!(!fleet.selects(&BTreeMap::new(), &[taint("reserved", "NoSchedule")], false));
        assert!(fleet.selects(&BTreeMap::new(), &[taint("reserved", "PreferNoSchedule")], false));
        assert!(fleet.selects(&BTreeMap::new(), &[taint("node.kubernetes.io/unschedulable", "NoSchedule")], false));
    }

    #[test]
    fn a_stack_that_names_no_tolerations_stands_every_taint_of_a_linux_node() {
        let fleet = Fleet::of(&ObservabilityStack::default());
        let of = |os: &str| BTreeMap::from([(OS.to_owned(), os.to_owned())]);
        assert!(fleet.selects(&of("linux"), &[taint("reserved", "NoExecute")], false));
        assert!(!fleet.selects(&of("windows"), &[], false));
    }

    #[test]
    fn a_node_that_is_closed_to_new_pods_keeps_the_agent_that_runs_there() {
        let fleet = fleet(&[], Vec::new());
        let (closed, cleared) = ([taint("reserved", "NoSchedule")], [taint("reserved", "NoExecute")]);
        assert!(fleet.selects(&BTreeMap::new(), &closed, true));
        assert!(!fleet.selects(&BTreeMap::new(), &cleared, true));
    }

    #[test]
    fn a_toleration_with_a_value_stands_only_that_value() {
        let toleration = Toleration { key: Some("team".into()), value: Some("ink".into()), ..Toleration::default() };
        let fleet = fleet(&[], vec![toleration]);
        let of = |value: &str| Taint { value: Some(value.into()), ..taint("team", "NoSchedule") };
        assert!(fleet.selects(&BTreeMap::new(), &[of("ink")], false));
        assert!(!fleet.selects(&BTreeMap::new(), &[of("kelp")], false));
    }
}
