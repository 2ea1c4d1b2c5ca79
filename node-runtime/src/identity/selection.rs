//! Selections of pods: whether a pod, one of its containers or the host is in a scope. Each distinct scope has an id, which is a
//! bit in the answers of a class. Pure.

use std::collections::BTreeMap;

use trilobite_crds::{
    node::{PodScope, matches_container},
    selector::{matches, matches_pod},
};
use trilobite_node_ebpf::SCOPES_MAX;

use super::{
    Container, Pod,
    classes::{Answer, ClassAnswers},
};

/// Labels by namespace.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// What is known of the cluster when a scope is evaluated.
pub struct ClusterView<'a> {
    /// False on a machine without a cluster, which has no pods.
    pub cluster: bool,
    pub namespaces: &'a Namespaces,
}

/// The part of a pod that is asked about.
#[derive(Clone, Copy, Debug)]
pub enum PodPart<'a> {
    /// Any of its containers.
    Whole,
    /// The pod's own cgroup, or a container that is not named yet.
    Unnamed,
    /// None of its containers.
    Sandbox,
    Container(&'a Container),
}

/// Whether a part of a pod is in a scope; none while the labels of its namespace or the container's name are unknown.
pub fn pod_in_scope(scope: &PodScope, pod: &Pod, part: PodPart<'_>, view: &ClusterView<'_>) -> Option<bool> {
    if scope.excludes_pods() || scope.namespace.as_ref().is_some_and(|namespace| *namespace != pod.namespace) {
        return Some(false);
    }
    // The planner has refused invalid selectors; one that gets here selects nothing.
    if !scope.pod_selectors().all(|selector| matches_pod(selector, &pod.namespace, &pod.labels).unwrap_or(false)) {
        return Some(false);
    }
    let of_namespace = match &scope.namespace_selector {
        Some(selector) => view.namespaces.get(&pod.namespace).map(|labels| matches(selector, labels).unwrap_or(false)),
        None => Some(true),
    };
    match (of_namespace, part_in_scope(scope, pod, part)) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn part_in_scope(scope: &PodScope, pod: &Pod, part: PodPart<'_>) -> Option<bool> {
    let selected = |container: &Container| {
        let matches = |selector| matches_container(selector, &container.name, &container.image).unwrap_or(false);
        scope.container_selectors().all(matches)
    };
    if !selects_containers(scope) {
        return Some(true);
    }
    match part {
        PodPart::Whole => Some(pod.containers.iter().any(selected)),
        PodPart::Container(container) => Some(selected(container)),
        PodPart::Sandbox => Some(false),
        PodPart::Unnamed => None,
    }
}

/// Whether a process outside of every pod is in a scope.
pub fn host_in_scope(scope: &PodScope, view: &ClusterView<'_>) -> bool {
    scope.includes_host() || (!view.cluster && selects_whole_machine(scope))
}

/// Whether a pod of which nothing is known yet is in a scope.
pub fn unknown_pod_in_scope(scope: &PodScope) -> Option<bool> {
    match (scope.excludes_pods(), selects_every_pod(scope)) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    }
}

/// Without a cluster, a scope without selectors means the whole machine.
pub fn selects_whole_machine(scope: &PodScope) -> bool {
    let is_set = |selector: &Option<_>| selector.as_ref().is_some_and(|selector| *selector != Default::default());
    !is_set(&scope.namespace_selector) && !selects_pods_by_label(scope) && !selects_containers(scope)
}

/// The scope on a machine without a cluster: there are no namespaces, and a selector that matches every pod means the machine.
pub fn scope_without_cluster(scope: &PodScope) -> PodScope {
    let pod_selector = scope.pod_selector.clone().filter(|selector| *selector != Default::default());
    PodScope { namespace: None, pod_selector, ..scope.clone() }
}

/// The scope has no condition on pods.
pub fn selects_every_pod(scope: &PodScope) -> bool {
    scope.namespace.is_none()
        && scope.namespace_selector.is_none()
        && !scope.excludes_pods()
        && !selects_pods_by_label(scope)
        && !selects_containers(scope)
}

/// The scope is about some containers of a pod.
fn selects_containers(scope: &PodScope) -> bool {
    scope.container_selectors().any(|selector| *selector != Default::default())
}

fn selects_pods_by_label(scope: &PodScope) -> bool {
    scope.pod_selectors().any(|selector| *selector != Default::default())
}

#[derive(Clone, Debug)]
struct UsedScope {
    scope: PodScope,
    users: u32,
}

/// Scopes by id.
#[derive(Clone, Debug, Default)]
pub struct Scopes(BTreeMap<u32, UsedScope>);

/// Most scopes of namespaced resources: a third of all is kept for cluster-wide ones.
pub const NAMESPACED_SCOPES_MAX: u32 = SCOPES_MAX * 2 / 3;

/// No id is left for a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopesFull {
    pub limit: u32,
    /// The limit is that of namespaced resources.
    pub is_namespaced: bool,
}

/// The id of an acquired scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    pub id: u32,
    /// No equal scope had it before.
    pub is_new: bool,
}

impl Scopes {
    /// The id of a scope, shared with an equal one.
    pub fn acquire(&mut self, scope: &PodScope) -> Result<Acquired, ScopesFull> {
        if let Some((id, used)) = self.0.iter_mut().find(|(_, used)| used.scope == *scope) {
            used.users += 1;
            return Ok(Acquired { id: *id, is_new: false });
        }
        let is_namespaced = scope.namespace.is_some();
        let limit = if is_namespaced { NAMESPACED_SCOPES_MAX } else { SCOPES_MAX };
        let namespaced = self.0.values().filter(|used| used.scope.namespace.is_some()).count();
        let free = (0..SCOPES_MAX).find(|id| !self.0.contains_key(id));
        let id = free.filter(|_| !is_namespaced || namespaced < limit as usize);
        let id = id.ok_or(ScopesFull { limit, is_namespaced })?;
        self.0.insert(id, UsedScope { scope: scope.clone(), users: 1 });
        Ok(Acquired { id, is_new: true })
    }

    /// Releases one use of an id. True if that was the last.
    pub fn release(&mut self, id: u32) -> bool {
        let Some(used) = self.0.get_mut(&id) else { return false };
        used.users -= 1;
        if used.users > 0 {
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
        self.0.values().any(|used| used.scope.namespace_selector.is_some())
    }

    /// Some scope is about some containers of a pod, so that its cgroups differ.
    pub fn needs_containers(&self) -> bool {
        self.0.values().any(|used| selects_containers(&used.scope))
    }

    /// What all scopes answer.
    pub fn answers(&self, in_scope: impl Fn(&PodScope) -> Option<bool>) -> ClassAnswers {
        let mut answers = ClassAnswers::default();
        for (id, used) in &self.0 {
            answers.set(*id, Answer::from(in_scope(&used.scope)));
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_label(app: &str) -> PodScope {
        serde_json::from_value(serde_json::json!({"podSelector": {"matchLabels": {"app": app}}})).unwrap()
    }

    fn in_container(name: &str) -> PodScope {
        let value = serde_json::json!({"containerSelector": {"matchExpressions": [
            {"key": "name", "operator": "In", "values": [name]}]}});
        serde_json::from_value(value).unwrap()
    }

    fn pod(app: &str) -> Pod {
        let container = |name: &str| Container { name: name.into(), ..Container::default() };
        Pod {
            namespace: "shop".into(),
            labels: BTreeMap::from([("app".into(), app.into())]),
            containers: vec![container("main"), container("sidecar")],
            ..Pod::default()
        }
    }

    fn in_scope(scope: &PodScope, pod: &Pod, part: PodPart<'_>) -> Option<bool> {
        pod_in_scope(scope, pod, part, &ClusterView { cluster: true, namespaces: &Namespaces::new() })
    }

    #[test]
    fn equal_scopes_share_an_id_until_the_last_release() {
        let mut scopes = Scopes::default();
        let acquired = |id, is_new| Ok(Acquired { id, is_new });
        assert_eq!(scopes.acquire(&with_label("a")), acquired(0, true));
        assert_eq!(scopes.acquire(&with_label("b")), acquired(1, true));
        assert_eq!(scopes.acquire(&with_label("a")), acquired(0, false));
        assert!(!scopes.release(0));
        assert!(scopes.release(0));
        assert_eq!(scopes.acquire(&with_label("c")), acquired(0, true));
    }

    #[test]
    fn namespaces_leave_a_third_of_the_scopes_to_the_cluster() {
        let mut scopes = Scopes::default();
        let of_namespace = |app: u32| PodScope { namespace: Some("shop".into()), ..with_label(&app.to_string()) };
        (0..682).for_each(|app| assert!(scopes.acquire(&of_namespace(app)).is_ok()));
        let full = Err(ScopesFull { limit: 682, is_namespaced: true });
        assert_eq!(scopes.acquire(&of_namespace(682)), full);
        (682..1024).for_each(|app| assert!(scopes.acquire(&with_label(&app.to_string())).is_ok()));
        assert_eq!(scopes.acquire(&with_label("a")), Err(ScopesFull { limit: 1024, is_namespaced: false }));
        // One that was there before has its id.
        assert_eq!(scopes.acquire(&of_namespace(0)), Ok(Acquired { id: 0, is_new: false }));
    }

    #[test]
    fn pod_is_selected_by_matching_scopes_and_decided_for_all() {
        let mut scopes = Scopes::default();
        ["a", "b"].iter().for_each(|app| assert!(scopes.acquire(&with_label(app)).is_ok()));
        let answers = scopes.answers(|scope| in_scope(scope, &pod("b"), PodPart::Unnamed));
        assert_eq!([0, 1, 2].map(|id| answers.answer(id)), [Answer::NotSelected, Answer::Selected, Answer::Unknown]);
    }

    #[test]
    fn unknown_pod_is_decided_by_scopes_of_every_pod_or_none() {
        let without_pods = PodScope { without_pods: true, include_host: true, ..PodScope::default() };
        assert_eq!(unknown_pod_in_scope(&PodScope::default()), Some(true));
        assert_eq!(
            unknown_pod_in_scope(&PodScope { pod_selector: Some(Default::default()), ..PodScope::default() }),
            Some(true)
        );
        assert_eq!(unknown_pod_in_scope(&without_pods), Some(false));
        assert_eq!(unknown_pod_in_scope(&with_label("a")), None);
        assert_eq!(unknown_pod_in_scope(&in_container("main")), None);
    }

    #[test]
    fn pods_are_unknown_while_their_namespaces_labels_are() {
        let scope: PodScope =
            serde_json::from_value(serde_json::json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})).unwrap();
        let mut namespaces = Namespaces::new();
        let in_scope = |namespaces: &Namespaces| {
            pod_in_scope(&scope, &pod("a"), PodPart::Unnamed, &ClusterView { cluster: true, namespaces })
        };
        assert_eq!(in_scope(&namespaces), None);
        namespaces.insert("shop".into(), BTreeMap::from([("team".into(), "x".into())]));
        assert_eq!(in_scope(&namespaces), Some(true));
    }

    #[test]
    fn container_is_unknown_until_it_is_named_if_its_pod_matches() {
        let pod = pod("a");
        let both = PodScope { container_selector: in_container("main").container_selector, ..with_label("a") };
        for scope in [in_container("main"), both.clone()] {
            assert_eq!(in_scope(&scope, &pod, PodPart::Unnamed), None);
            assert_eq!(in_scope(&scope, &pod, PodPart::Sandbox), Some(false));
            assert_eq!(in_scope(&scope, &pod, PodPart::Whole), Some(true));
            assert_eq!(in_scope(&scope, &pod, PodPart::Container(&pod.containers[0])), Some(true));
            assert_eq!(in_scope(&scope, &pod, PodPart::Container(&pod.containers[1])), Some(false));
        }
        let other = PodScope { container_selector: both.container_selector, ..with_label("b") };
        assert_eq!(in_scope(&other, &pod, PodPart::Unnamed), Some(false));
    }

    #[test]
    fn workload_of_a_selector_narrows_the_scope_of_its_policy() {
        let workload = |value| serde_json::from_value(value).unwrap();
        let pod = pod("a");
        let narrowed = |workload| PodScope { workload: Some(workload), ..with_label("a") };
        let same = narrowed(workload(serde_json::json!({"podSelector": {"matchLabels": {"app": "a"}}})));
        let other = narrowed(workload(serde_json::json!({"podSelector": {"matchLabels": {"app": "b"}}})));
        let host = PodScope {
            include_host: true,
            ..narrowed(workload(serde_json::json!({"includeHost": true, "withoutPods": true})))
        };
        assert_eq!(in_scope(&same, &pod, PodPart::Unnamed), Some(true));
        assert_eq!(in_scope(&other, &pod, PodPart::Unnamed), Some(false));
        assert_eq!(in_scope(&host, &pod, PodPart::Unnamed), Some(false));
        let namespaces = Namespaces::new();
        let view = ClusterView { cluster: true, namespaces: &namespaces };
        assert!(host_in_scope(&host, &view) && !host_in_scope(&same, &view));
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
