//! The index that every layer reads: cgroups, pods, namespaces, selections and processes. Pure: no clock, no client, no lock.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::Arc,
};

use trilobite_crds::node::PodScope;
use trilobite_node_ebpf::CgroupState;

use super::{
    Owner, Pod, PodContainer,
    cgroup::{CgroupLocation, CgroupTree},
    decode::CgroupChange,
    process::cache::ProcessCache,
    selection::{ClusterView, Namespaces, Selectors, host_in_scope, pod_in_scope, selects_every_pod},
};

#[derive(Debug, Default)]
pub struct Index {
    /// There is a cluster, whose API server names the pods.
    pub cluster: bool,
    pub processes: ProcessCache,
    pub selectors: Selectors,
    cgroups: CgroupTree,
    pods: HashMap<String, Arc<Pod>>,
    deleted_pods: VecDeque<Arc<Pod>>,
    namespaces: Namespaces,
    /// Owners that were asked for, since each event asks: pods only, emptied when pods or cgroups change.
    owners: HashMap<u64, Owner>,
}

/// How many deleted pods are remembered, for events of their processes that are still to come.
const DELETED_PODS_MAX: usize = 64;

impl Index {
    /// An index of a node whose own cgroup is `root`.
    pub fn new(root: u64, cluster: bool) -> Self {
        Self { cluster, cgroups: CgroupTree::new(root), ..Self::default() }
    }

    /// Applies the record of a cgroup. False if the cgroup file system has to be scanned, since its parent is unknown.
    pub fn apply_cgroup_change(&mut self, change: &CgroupChange) -> bool {
        self.owners.clear();
        if change.removed {
            self.cgroups.remove(change.id);
            return true;
        }
        self.cgroups.insert(change.id, change.parent, &change.name)
    }

    /// Replaces all cgroups by those of a scan, parents first: id, parent, name.
    pub fn set_cgroups(&mut self, found: &[(u64, u64, String)]) {
        self.owners.clear();
        for (id, parent, name) in found {
            self.cgroups.insert(*id, *parent, name);
        }
        let seen: HashSet<u64> = found.iter().map(|(id, ..)| *id).collect();
        self.cgroups.retain(&|id| seen.contains(&id));
    }

    /// Replaces all pods of the node.
    pub fn set_pods(&mut self, pods: Vec<Arc<Pod>>) {
        self.owners.clear();
        let mut now: HashMap<String, Arc<Pod>> = HashMap::new();
        for pod in pods {
            match now.entry(pod.cgroup_uid.clone()) {
                Entry::Vacant(free) => drop(free.insert(pod)),
                Entry::Occupied(mut taken) if self.has_older_claim(&pod, taken.get()) => drop(taken.insert(pod)),
                Entry::Occupied(_) => {}
            }
        }
        let before = std::mem::replace(&mut self.pods, now);
        self.deleted_pods
            .extend(before.into_iter().filter(|(uid, _)| !self.pods.contains_key(uid)).map(|(_, pod)| pod));
        while self.deleted_pods.len() > DELETED_PODS_MAX {
            self.deleted_pods.pop_front();
        }
    }

    /// Whether `one` wins over `other`, which claims the same cgroups. Any user may write the annotations that make a pod look
    /// static: the pod that had the cgroups before keeps them, and of two new ones the older wins.
    fn has_older_claim(&self, one: &Pod, other: &Pod) -> bool {
        let age = |pod: &Pod| {
            let had = self.pods.get(&pod.cgroup_uid).is_some_and(|before| before.uid == pod.uid);
            (!had, pod.created.is_none(), pod.created, pod.uid.clone())
        };
        age(one) < age(other)
    }

    pub fn set_namespaces(&mut self, namespaces: Namespaces) {
        self.namespaces = namespaces;
    }

    /// The known labels of namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// All pods, sorted by uid.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        let mut pods: Vec<Arc<Pod>> = self.pods.values().cloned().collect();
        pods.sort_by(|a, b| a.uid.cmp(&b.uid));
        pods
    }

    pub fn owner(&mut self, cgroup: u64) -> Owner {
        if let Some(owner) = self.owners.get(&cgroup) {
            return owner.clone();
        }
        let owner = self.find_owner(cgroup);
        if matches!(owner, Owner::Pod(_) | Owner::Unnamed(_)) {
            self.owners.insert(cgroup, owner.clone());
        }
        owner
    }

    fn find_owner(&self, cgroup: u64) -> Owner {
        match self.cgroups.location(cgroup) {
            None if !self.cluster => Owner::Host,
            // The kernel's programs send nothing from outside of the node, so that the cgroup will become known.
            None => Owner::Unknown,
            Some(CgroupLocation::Host | CgroupLocation::AbovePods) => Owner::Host,
            Some(CgroupLocation::Pod { uid, container }) => match self.pod(uid) {
                Some(pod) => Owner::Pod(Arc::new(pod_container(pod, container))),
                // Without an API server the ids are all that can be known.
                None if !self.cluster => Owner::Pod(Arc::new(unnamed_container(uid, container))),
                None => Owner::Unnamed(Arc::new(unnamed_container(uid, container))),
            },
        }
    }

    fn pod(&self, cgroup_uid: &str) -> Option<&Arc<Pod>> {
        self.pods.get(cgroup_uid).or_else(|| self.deleted_pods.iter().rfind(|pod| pod.cgroup_uid == cgroup_uid))
    }

    /// Whether an owner is in a scope; none while that is unknown.
    pub fn in_scope(&self, scope: &PodScope, owner: &Owner) -> Option<bool> {
        let view = self.view();
        match owner {
            Owner::Pod(_) if !self.cluster => Some(host_in_scope(scope, &view)),
            Owner::Pod(found) => pod_in_scope(scope, &found.pod, &view),
            Owner::Host => Some(host_in_scope(scope, &view)),
            // The same answer as that of the kernel's map for cgroups above pods.
            Owner::Unnamed(_) => selects_every_pod(scope).then_some(true),
            Owner::Unknown => None,
            Owner::Elsewhere => Some(false),
        }
    }

    /// Whether a pod is in a scope; false while the labels of its namespace are unknown.
    pub fn pod_in_scope(&self, scope: &PodScope, pod: &Pod) -> bool {
        pod_in_scope(scope, pod, &self.view()).unwrap_or(false)
    }

    /// The entries that the kernel's map of cgroups should have.
    pub fn cgroup_states(&self) -> HashMap<u64, CgroupState> {
        let mut states = HashMap::new();
        if self.selectors.is_empty() {
            return states;
        }
        let view = self.view();
        states.insert(self.cgroups.root(), self.selectors.root_state(&view));
        let mut by_pod: HashMap<&str, Option<CgroupState>> = HashMap::new();
        for (id, location) in self.cgroups.living() {
            let state = match location {
                // All cgroups of a pod have the same entry.
                CgroupLocation::Pod { uid, .. } => *by_pod.entry(uid.as_str()).or_insert_with(|| {
                    self.selectors.cgroup_state(location, self.pods.get(uid).map(AsRef::as_ref), &view)
                }),
                _ => self.selectors.cgroup_state(location, None, &view),
            };
            if let Some(state) = state {
                states.insert(id, state);
            }
        }
        states
    }

    /// Path of a pod's own cgroup below the node's.
    pub fn pod_path(&self, cgroup_uid: &str) -> Option<String> {
        let is_pod = |location: &CgroupLocation| matches!(location, CgroupLocation::Pod { uid, container } if uid == cgroup_uid && container.is_empty());
        self.cgroups
            .living()
            .filter(|(_, location)| is_pod(location))
            .filter_map(|(id, _)| self.cgroups.path(id))
            .min_by_key(String::len)
    }

    fn view(&self) -> ClusterView<'_> {
        ClusterView { cluster: self.cluster, namespaces: &self.namespaces }
    }
}

fn pod_container(pod: &Arc<Pod>, container_id: &str) -> PodContainer {
    let has_id = |id: &str| !container_id.is_empty() && id.rsplit("//").next() == Some(container_id);
    PodContainer {
        pod: pod.clone(),
        container: pod.containers.iter().find(|container| has_id(&container.id)).cloned(),
        container_id: container_id.to_owned(),
    }
}

fn unnamed_container(cgroup_uid: &str, container_id: &str) -> PodContainer {
    let pod = Pod { uid: cgroup_uid.to_owned(), cgroup_uid: cgroup_uid.to_owned(), ..Pod::default() };
    PodContainer { pod: Arc::new(pod), container: None, container_id: container_id.to_owned() }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::identity::Container;

    const UID: &str = "7f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn pod() -> Arc<Pod> {
        Arc::new(Pod {
            uid: UID.into(),
            cgroup_uid: UID.into(),
            namespace: "shop".into(),
            name: "cart-1".into(),
            containers: vec![Container {
                name: "app".into(),
                id: format!("containerd://{ID}"),
                ..Container::default()
            }],
            ..Pod::default()
        })
    }

    type Step = Box<dyn Fn(&mut Index)>;

    /// Everything that makes a container known, in any order.
    fn steps() -> Vec<Step> {
        let made = |id: u64, parent: u64, name: String| {
            let change = CgroupChange { id, parent, name, removed: false, time: 0 };
            Box::new(move |index: &mut Index| {
                if !index.apply_cgroup_change(&change) {
                    index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (4, 3, ID.into())]);
                }
            }) as Step
        };
        vec![
            made(2, 1, "kubepods".into()),
            made(3, 2, format!("pod{UID}")),
            made(4, 3, ID.into()),
            Box::new(|index: &mut Index| index.set_pods(vec![pod()])),
            Box::new(|index: &mut Index| assert_eq!(index.selectors.acquire(&PodScope::default()), Some(0))),
        ]
    }

    fn permutations(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![Vec::new()];
        }
        permutations(count - 1)
            .into_iter()
            .flat_map(|shorter| {
                (0..count).map(move |at| {
                    let mut longer = shorter.clone();
                    longer.insert(at, count - 1);
                    longer
                })
            })
            .collect()
    }

    #[test]
    fn order_in_which_a_container_becomes_known_does_not_matter() {
        let steps = steps();
        for order in permutations(steps.len()) {
            let mut index = Index::new(1, true);
            for step in &order {
                steps[*step](&mut index);
            }
            let owner = index.owner(4);
            let Owner::Pod(owner) = owner else { panic!("{order:?}: {owner:?}") };
            assert_eq!(owner.container.as_ref().map(|container| container.name.as_str()), Some("app"), "{order:?}");
            let state = index.cgroup_states()[&4];
            assert_eq!((state.known, state.selected), (1, 1), "{order:?}");
            assert_eq!(index.pod_path(UID), Some(format!("/kubepods/pod{UID}")));
        }
    }

    #[test]
    fn cgroup_of_a_pod_is_unknown_until_its_pod_is_known() {
        let mut index = Index::new(1, true);
        index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (9, 1, "system.slice".into())]);
        let owner = index.owner(3);
        assert!(matches!(owner, Owner::Unnamed(_)), "{owner:?}");
        assert_eq!(index.owner(9), Owner::Host);
        assert_eq!(index.owner(77), Owner::Unknown);
        let owner = index.owner(3);
        assert_eq!(index.in_scope(&in_namespace("shop"), &owner), None);
        let owner = index.owner(77);
        assert_eq!(index.in_scope(&PodScope::default(), &owner), None);
    }

    #[test]
    fn unnamed_pod_is_selected_with_every_pod_as_in_the_kernel() {
        let mut index = Index::new(1, true);
        let with_host = PodScope { include_host: true, ..PodScope::default() };
        for scope in [PodScope::default(), with_host] {
            index.selectors.acquire(&scope);
            index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
            let owner = index.owner(3);
            assert_eq!(index.in_scope(&scope, &owner), Some(true));
        }
        assert_eq!(index.cgroup_states()[&2].selected, 0b11);
    }

    fn in_namespace(name: &str) -> PodScope {
        PodScope { namespace: Some(name.into()), ..PodScope::default() }
    }

    #[test]
    fn without_a_cluster_the_container_id_is_known_and_no_pod_name() {
        let mut index = Index::new(1, false);
        index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (4, 3, ID.into())]);
        let owner = index.owner(4);
        let Owner::Pod(owner) = owner else { panic!("{owner:?}") };
        assert_eq!((owner.pod.name.as_str(), owner.container_id.as_str()), ("", ID));
        let owner = index.owner(4);
        assert_eq!(index.in_scope(&PodScope::default(), &owner), Some(true));
        assert_eq!(index.owner(77), Owner::Host);
    }

    /// A pod that claims the cgroups of `UID`.
    fn claiming_pod(uid: &str, created: i64) -> Arc<Pod> {
        let created = Some(Timestamp::from_second(created).unwrap());
        Arc::new(Pod { uid: uid.into(), name: uid.into(), created, ..Pod::clone(&pod()) })
    }

    #[test]
    fn older_pod_keeps_contested_cgroup() {
        let (old, new) = (claiming_pod("z-old", 10), claiming_pod("a-new", 20));
        for both in [[&old, &new], [&new, &old]] {
            let mut index = Index::new(1, true);
            index.set_pods(both.map(Arc::clone).to_vec());
            assert_eq!(index.pods(), std::slice::from_ref(&old));
        }
        let mut index = Index::new(1, true);
        index.set_pods(vec![new.clone()]);
        // Creation times have a resolution of a second and clocks may be wrong: the pod that was here first stays.
        index.set_pods(vec![old.clone(), new.clone()]);
        assert_eq!(index.pods(), [new]);
        index.set_pods(vec![old.clone()]);
        assert_eq!(index.pods(), [old]);
    }

    #[test]
    fn all_cgroups_of_a_pod_have_its_selection() {
        let other = "8f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";
        let mut index = Index::new(1, true);
        index.selectors.acquire(&in_namespace("shop"));
        index.set_pods(vec![
            pod(),
            Arc::new(Pod { uid: other.into(), cgroup_uid: other.into(), namespace: "till".into(), ..Pod::default() }),
        ]);
        index.set_cgroups(&[
            (2, 1, "kubepods".into()),
            (3, 2, format!("pod{UID}")),
            (4, 3, ID.into()),
            (5, 2, format!("pod{other}")),
            (6, 5, ID.into()),
        ]);
        let selection = |id: u64| index.cgroup_states().get(&id).map(|state| (state.known, state.selected));
        assert_eq!([3, 4, 5, 6].map(selection), [Some((1, 1)), Some((1, 1)), Some((1, 0)), Some((1, 0))]);
    }

    #[test]
    fn cgroup_missing_in_a_scan_leaves_the_map() {
        let mut index = Index::new(1, true);
        index.selectors.acquire(&PodScope::default());
        index.set_pods(vec![pod()]);
        index.set_cgroups(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
        assert!(index.cgroup_states().contains_key(&3));
        index.set_cgroups(&[(2, 1, "kubepods".into())]);
        assert!(!index.cgroup_states().contains_key(&3));
    }
}
