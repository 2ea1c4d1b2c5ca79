//! Selections: each distinct scope has a bit, and each cgroup says for which bits it is decided and for which wanted.
//! Pure; whoever holds the kernel's map writes what comes out.

use std::collections::BTreeMap;

use trilobite_crds::{
    node::PodScope,
    selector::{matches, matches_pod},
};
use trilobite_node_ebpf::{
    limits::SLOTS_MAX,
    process::{CgroupState, cgroup_flag},
};

use super::{Pod, place::CgroupPlace};

/// Labels by namespace.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// What a scope is asked about.
pub struct World<'a> {
    /// There is a cluster to ask; without one there are no pods.
    pub cluster: bool,
    /// Known namespaces.
    pub namespaces: &'a Namespaces,
}

/// Whether a pod is in a scope; none while its namespace's labels are unknown.
pub fn pod_in_scope(scope: &PodScope, pod: &Pod, world: &World<'_>) -> Option<bool> {
    if scope.namespace.as_ref().is_some_and(|namespace| *namespace != pod.namespace) {
        return Some(false);
    }
    if let Some(selector) = &scope.pod_selector {
        // A selector that cannot be read selects nobody; the planner has refused it before.
        if !matches_pod(selector, &pod.namespace, &pod.labels).unwrap_or(false) {
            return Some(false);
        }
    }
    match &scope.namespace_selector {
        Some(selector) => Some(matches(selector, world.namespaces.get(&pod.namespace)?).unwrap_or(false)),
        None => Some(true),
    }
}

/// Whether a process outside any pod is in a scope.
pub fn host_in_scope(scope: &PodScope, world: &World<'_>) -> bool {
    scope.include_host || (!world.cluster && whole_machine(scope))
}

/// Without a cluster there are no namespaces, and whoever asks nothing of a pod means the machine.
pub fn whole_machine(scope: &PodScope) -> bool {
    let asks = |selector: &Option<_>| selector.as_ref().is_some_and(|selector| *selector != Default::default());
    !asks(&scope.namespace_selector) && !asks(&scope.pod_selector)
}

/// What a scope means where there is no cluster: there are no namespaces, and a selector that matches every pod means the
/// machine.
pub fn without_cluster(scope: &PodScope) -> PodScope {
    let pod_selector = scope.pod_selector.clone().filter(|selector| *selector != Default::default());
    PodScope { namespace: None, pod_selector, ..scope.clone() }
}

/// Nothing is asked of a pod.
pub fn every_pod(scope: &PodScope) -> bool {
    scope.namespace.is_none() && scope.namespace_selector.is_none() && scope.pod_selector.is_none()
}

#[derive(Clone, Debug)]
struct Entry {
    scope: PodScope,
    users: u32,
}

/// The bits.
#[derive(Clone, Debug, Default)]
pub struct Slots(BTreeMap<u32, Entry>);

impl Slots {
    /// A bit for a scope, shared with an equal one; none when all are taken.
    pub fn take(&mut self, scope: &PodScope) -> Option<u32> {
        if let Some((bit, entry)) = self.0.iter_mut().find(|(_, entry)| entry.scope == *scope) {
            entry.users += 1;
            return Some(*bit);
        }
        let bit = (0..SLOTS_MAX).find(|bit| !self.0.contains_key(bit))?;
        self.0.insert(bit, Entry { scope: scope.clone(), users: 1 });
        Some(bit)
    }

    /// Gives a bit back. True if nobody has it any more.
    pub fn release(&mut self, bit: u32) -> bool {
        let Some(entry) = self.0.get_mut(&bit) else { return false };
        entry.users -= 1;
        if entry.users > 0 {
            return false;
        }
        self.0.remove(&bit);
        true
    }

    /// Nobody is selected by anybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Some scope asks for labels of namespaces.
    pub fn need_namespaces(&self) -> bool {
        self.0.values().any(|entry| entry.scope.namespace_selector.is_some())
    }

    /// What the kernel is to know of the node's own cgroup: the host's answer, for all slots.
    pub fn of_root(&self, world: &World<'_>) -> CgroupState {
        self.state(0, |scope| Some(host_in_scope(scope, world)))
    }

    /// What the kernel is to know of a cgroup; none where the ones above say it all.
    pub fn of_cgroup(&self, place: &CgroupPlace, pod: Option<&Pod>, world: &World<'_>) -> Option<CgroupState> {
        if !world.cluster {
            return None;
        }
        match place {
            CgroupPlace::Host => None,
            CgroupPlace::AbovePods => Some(self.state(cgroup_flag::PODS, |scope| every_pod(scope).then_some(true))),
            CgroupPlace::Pod { .. } => {
                let pod = pod?;
                Some(self.state(cgroup_flag::INHERIT, |scope| pod_in_scope(scope, pod, world)))
            }
        }
    }

    fn state(&self, flags: u32, answer: impl Fn(&PodScope) -> Option<bool>) -> CgroupState {
        let mut state = CgroupState { flags, ..CgroupState::default() };
        for (bit, entry) in &self.0 {
            if let Some(wanted) = answer(&entry.scope) {
                state.decided |= 1 << bit;
                state.wanted |= u64::from(wanted) << bit;
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(app: &str) -> PodScope {
        serde_json::from_value(serde_json::json!({"podSelector": {"matchLabels": {"app": app}}})).unwrap()
    }

    fn pod(app: &str) -> Pod {
        Pod { namespace: "shop".into(), labels: BTreeMap::from([("app".into(), app.into())]), ..Pod::default() }
    }

    fn in_a_pod() -> CgroupPlace {
        CgroupPlace::Pod { uid: "u".into(), container: String::new() }
    }

    #[test]
    fn equal_scopes_share_a_bit_until_the_last_lets_go() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(&labelled("a")), Some(0));
        assert_eq!(slots.take(&labelled("b")), Some(1));
        assert_eq!(slots.take(&labelled("a")), Some(0));
        assert!(!slots.release(0));
        assert!(slots.release(0));
        assert_eq!(slots.take(&labelled("c")), Some(0));
    }

    #[test]
    fn a_pod_is_wanted_by_the_slots_that_match_it_and_decided_for_all() {
        let namespaces = Namespaces::new();
        let world = World { cluster: true, namespaces: &namespaces };
        let mut slots = Slots::default();
        slots.take(&labelled("a"));
        slots.take(&labelled("b"));
        let state = slots.of_cgroup(&in_a_pod(), Some(&pod("b")), &world).unwrap();
        assert_eq!((state.decided, state.wanted, state.flags), (0b11, 0b10, cgroup_flag::INHERIT));
        assert_eq!(slots.of_cgroup(&in_a_pod(), None, &world), None);
    }

    #[test]
    fn what_lies_above_the_pods_decides_for_a_new_pod_only_where_every_pod_is_wanted() {
        let namespaces = Namespaces::new();
        let world = World { cluster: true, namespaces: &namespaces };
        let mut slots = Slots::default();
        slots.take(&labelled("a"));
        slots.take(&PodScope::default());
        let state = slots.of_cgroup(&CgroupPlace::AbovePods, None, &world).unwrap();
        assert_eq!((state.decided, state.wanted, state.flags), (0b10, 0b10, cgroup_flag::PODS));
        assert_eq!(slots.of_root(&world).wanted, 0);
    }

    #[test]
    fn a_namespace_whose_labels_are_unknown_leaves_its_pods_undecided() {
        let scope: PodScope =
            serde_json::from_value(serde_json::json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})).unwrap();
        let mut namespaces = Namespaces::new();
        assert_eq!(pod_in_scope(&scope, &pod("a"), &World { cluster: true, namespaces: &namespaces }), None);
        namespaces.insert("shop".into(), BTreeMap::from([("team".into(), "x".into())]));
        assert_eq!(pod_in_scope(&scope, &pod("a"), &World { cluster: true, namespaces: &namespaces }), Some(true));
    }

    #[test]
    fn without_a_cluster_an_empty_scope_is_the_whole_machine_and_a_selector_is_nobody() {
        let namespaces = Namespaces::new();
        let world = World { cluster: false, namespaces: &namespaces };
        assert!(host_in_scope(&PodScope::default(), &world));
        assert!(!host_in_scope(&labelled("a"), &world));
        let all_of_default = PodScope {
            namespace: Some("default".into()),
            pod_selector: Some(Default::default()),
            ..PodScope::default()
        };
        assert!(host_in_scope(&all_of_default, &world));
    }
}
