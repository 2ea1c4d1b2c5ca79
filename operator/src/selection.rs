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
        let all = || vec![Toleration { operator: Some("Exists".into()), ..Toleration::default() }];
        Self {
            node_selector: runtime.node_selector.clone(),
            tolerations: runtime.tolerations.as_ref().map_or_else(all, |some| some.iter().map(Into::into).collect()),
            since: stack.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }

    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>, taints: &[Taint]) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && taints.iter().all(|taint| self.stands(taint))
    }

    fn stands(&self, taint: &Taint) -> bool {
        taint.effect == "PreferNoSchedule"
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
        assert!(!fleet.selects(&BTreeMap::new(), &[]));
        assert!(fleet.selects(&BTreeMap::from([("disk".into(), "coral".into())]), &[]));
    }

    #[test]
    fn a_taint_that_nobody_tolerates_keeps_the_node_out_unless_every_daemon_set_tolerates_it() {
        let fleet = fleet(&[], Vec::new());
        assert!(!fleet.selects(&BTreeMap::new(), &[taint("reserved", "NoSchedule")]));
        assert!(fleet.selects(&BTreeMap::new(), &[taint("reserved", "PreferNoSchedule")]));
        assert!(fleet.selects(&BTreeMap::new(), &[taint("node.kubernetes.io/unschedulable", "NoSchedule")]));
    }

    #[test]
    fn a_stack_that_names_no_tolerations_stands_every_taint() {
        let fleet = Fleet::of(&ObservabilityStack::default());
        assert!(fleet.selects(&BTreeMap::new(), &[taint("reserved", "NoExecute")]));
    }

    #[test]
    fn a_toleration_with_a_value_stands_only_that_value() {
        let toleration = Toleration { key: Some("team".into()), value: Some("ink".into()), ..Toleration::default() };
        let fleet = fleet(&[], vec![toleration]);
        let of = |value: &str| Taint { value: Some(value.into()), ..taint("team", "NoSchedule") };
        assert!(fleet.selects(&BTreeMap::new(), &[of("ink")]));
        assert!(!fleet.selects(&BTreeMap::new(), &[of("kelp")]));
    }
}
