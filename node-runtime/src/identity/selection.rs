//! Selections of pods. Each distinct scope has a selector id, which is a bit. Each cgroup has two sets of bits: the scopes that are
//! decided for it, and the scopes that select it. Pure.

use std::collections::BTreeMap;

use trilobite_crds::{
    node::PodScope,
    selector::{matches, matches_pod},
};
use trilobite_node_ebpf::{CgroupState, SELECTORS_MAX, cgroup_flag};

use super::{Pod, cgroup::CgroupLocation};

/// Labels by namespace.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// What is known of the cluster when a scope is evaluated.
pub struct ClusterView<'a> {
    /// False on a machine without a cluster, which has no pods.
    pub cluster: bool,
    pub namespaces: &'a Namespaces,
}

/// Whether a pod is in a scope; none while the labels of its namespace are unknown.
pub fn pod_in_scope(scope: &PodScope, pod: &Pod, view: &ClusterView<'_>) -> Option<bool> {
    if scope.namespace.as_ref().is_some_and(|namespace| *namespace != pod.namespace) {
        return Some(false);
    }
    if let Some(selector) = &scope.pod_selector {
        // The planner has refused invalid selectors; one that gets here selects nothing.
        if !matches_pod(selector, &pod.namespace, &pod.labels).unwrap_or(false) {
            return Some(false);
        }
    }
    match &scope.namespace_selector {
        Some(selector) => Some(matches(selector, view.namespaces.get(&pod.namespace)?).unwrap_or(false)),
        None => Some(true),
    }
}

/// Whether a process outside of every pod is in a scope.
pub fn host_in_scope(scope: &PodScope, view: &ClusterView<'_>) -> bool {
    scope.include_host || (!view.cluster && selects_whole_machine(scope))
}

/// Without a cluster, a scope without selectors means the whole machine.
pub fn selects_whole_machine(scope: &PodScope) -> bool {
    let is_set = |selector: &Option<_>| selector.as_ref().is_some_and(|selector| *selector != Default::default());
    !is_set(&scope.namespace_selector) && !is_set(&scope.pod_selector)
}

/// The scope on a machine without a cluster: there are no namespaces, and a selector that matches every pod means the machine.
pub fn scope_without_cluster(scope: &PodScope) -> PodScope {
    let pod_selector = scope.pod_selector.clone().filter(|selector| *selector != Default::default());
    PodScope { namespace: None, pod_selector, ..scope.clone() }
}

/// The scope has no condition on pods.
pub fn selects_every_pod(scope: &PodScope) -> bool {
    scope.namespace.is_none() && scope.namespace_selector.is_none() && scope.pod_selector.is_none()
}

#[derive(Clone, Debug)]
struct Selector {
    scope: PodScope,
    users: u32,
}

/// Scopes by selector id.
#[derive(Clone, Debug, Default)]
pub struct Selectors(BTreeMap<u32, Selector>);

impl Selectors {
    /// The selector id of a scope, shared with an equal one; none when all are in use.
    pub fn acquire(&mut self, scope: &PodScope) -> Option<u32> {
        if let Some((id, selector)) = self.0.iter_mut().find(|(_, selector)| selector.scope == *scope) {
            selector.users += 1;
            return Some(*id);
        }
        let id = (0..SELECTORS_MAX).find(|id| !self.0.contains_key(id))?;
        self.0.insert(id, Selector { scope: scope.clone(), users: 1 });
        Some(id)
    }

    /// Releases one use of a selector id. True if that was the last.
    pub fn release(&mut self, id: u32) -> bool {
        let Some(selector) = self.0.get_mut(&id) else { return false };
        selector.users -= 1;
        if selector.users > 0 {
            return false;
        }
        self.0.remove(&id);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Some scope depends on the labels of namespaces.
    pub fn needs_namespaces(&self) -> bool {
        self.0.values().any(|selector| selector.scope.namespace_selector.is_some())
    }

    /// Map entry of the node's own cgroup: the host's answer, for every selector.
    pub fn root_state(&self, view: &ClusterView<'_>) -> CgroupState {
        self.state(0, |scope| Some(host_in_scope(scope, view)))
    }

    /// Map entry of a cgroup; none where the entry of its parents applies.
    pub fn cgroup_state(
        &self,
        location: &CgroupLocation,
        pod: Option<&Pod>,
        view: &ClusterView<'_>,
    ) -> Option<CgroupState> {
        if !view.cluster {
            return None;
        }
        match location {
            CgroupLocation::Host => None,
            CgroupLocation::AbovePods => {
                Some(self.state(cgroup_flag::PODS, |scope| selects_every_pod(scope).then_some(true)))
            }
            CgroupLocation::Pod { .. } => {
                let pod = pod?;
                Some(self.state(cgroup_flag::INHERIT, |scope| pod_in_scope(scope, pod, view)))
            }
        }
    }

    fn state(&self, flags: u32, in_scope: impl Fn(&PodScope) -> Option<bool>) -> CgroupState {
        let mut state = CgroupState { flags, ..CgroupState::default() };
        for (id, selector) in &self.0 {
            if let Some(selected) = in_scope(&selector.scope) {
                state.known |= 1 << id;
                state.selected |= u64::from(selected) << id;
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_label(app: &str) -> PodScope {
        serde_json::from_value(serde_json::json!({"podSelector": {"matchLabels": {"app": app}}})).unwrap()
    }

    fn pod(app: &str) -> Pod {
        Pod { namespace: "shop".into(), labels: BTreeMap::from([("app".into(), app.into())]), ..Pod::default() }
    }

    fn in_a_pod() -> CgroupLocation {
        CgroupLocation::Pod { uid: "u".into(), container: String::new() }
    }

    #[test]
    fn equal_scopes_share_a_selector_id_until_the_last_release() {
        let mut selectors = Selectors::default();
        assert_eq!(selectors.acquire(&with_label("a")), Some(0));
        assert_eq!(selectors.acquire(&with_label("b")), Some(1));
        assert_eq!(selectors.acquire(&with_label("a")), Some(0));
        assert!(!selectors.release(0));
        assert!(selectors.release(0));
        assert_eq!(selectors.acquire(&with_label("c")), Some(0));
    }

    #[test]
    fn pod_is_selected_by_matching_selectors_and_known_to_all() {
        let namespaces = Namespaces::new();
        let view = ClusterView { cluster: true, namespaces: &namespaces };
        let mut selectors = Selectors::default();
        selectors.acquire(&with_label("a"));
        selectors.acquire(&with_label("b"));
        let state = selectors.cgroup_state(&in_a_pod(), Some(&pod("b")), &view).unwrap();
        assert_eq!((state.known, state.selected, state.flags), (0b11, 0b10, cgroup_flag::INHERIT));
        assert_eq!(selectors.cgroup_state(&in_a_pod(), None, &view), None);
    }

    #[test]
    fn cgroups_above_pods_answer_only_for_selections_of_every_pod() {
        let namespaces = Namespaces::new();
        let view = ClusterView { cluster: true, namespaces: &namespaces };
        let mut selectors = Selectors::default();
        selectors.acquire(&with_label("a"));
        selectors.acquire(&PodScope::default());
        let state = selectors.cgroup_state(&CgroupLocation::AbovePods, None, &view).unwrap();
        assert_eq!((state.known, state.selected, state.flags), (0b10, 0b10, cgroup_flag::PODS));
        assert_eq!(selectors.root_state(&view).selected, 0);
    }

    #[test]
    fn pods_are_unknown_while_their_namespaces_labels_are() {
        let scope: PodScope =
            serde_json::from_value(serde_json::json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})).unwrap();
        let mut namespaces = Namespaces::new();
        assert_eq!(pod_in_scope(&scope, &pod("a"), &ClusterView { cluster: true, namespaces: &namespaces }), None);
        namespaces.insert("shop".into(), BTreeMap::from([("team".into(), "x".into())]));
        assert_eq!(
            pod_in_scope(&scope, &pod("a"), &ClusterView { cluster: true, namespaces: &namespaces }),
            Some(true)
        );
    }

    #[test]
    fn without_a_cluster_only_an_empty_scope_selects_the_machine() {
        let namespaces = Namespaces::new();
        let view = ClusterView { cluster: false, namespaces: &namespaces };
        assert!(host_in_scope(&PodScope::default(), &view));
        assert!(!host_in_scope(&with_label("a"), &view));
        let all_of_default = PodScope {
            namespace: Some("default".into()),
            pod_selector: Some(Default::default()),
            ..PodScope::default()
        };
        assert!(host_in_scope(&all_of_default, &view));
    }
}
