//! One table that every layer reads: cgroups, pods and processes. Pure: no clock, no client, no lock.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::Arc,
};

use trilobite_crds::node::PodScope;
use trilobite_node_ebpf::process::CgroupState;

use super::{
    Owner, Pod, PodContainer,
    cgroups::Cgroups,
    decode::CgroupChange,
    place::CgroupPlace,
    processes::Processes,
    slots::{Namespaces, Slots, World, every_pod, host_in_scope, pod_in_scope},
};

/// The table.
#[derive(Debug, Default)]
pub struct Index {
    /// There is a cluster: cgroups below `kubepods` are pods.
    pub cluster: bool,
    /// Process images.
    pub processes: Processes,
    /// Selections.
    pub slots: Slots,
    cgroups: Cgroups,
    pods: HashMap<String, Arc<Pod>>,
    past: VecDeque<Arc<Pod>>,
    namespaces: Namespaces,
}

/// Pods that are gone stay known for those of their processes whose end is still to be told, so many of them.
const PAST_PODS_MAX: usize = 64;

impl Index {
    /// An index of a node whose own cgroup is `root`.
    pub fn new(root: u64, cluster: bool) -> Self {
        Self { cluster, cgroups: Cgroups::new(root), ..Self::default() }
    }

    /// The cgroups.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// A record of a cgroup. False if the file system has to be walked to understand it.
    pub fn cgroup_changed(&mut self, change: &CgroupChange) -> bool {
        if change.removed {
            self.cgroups.remove(change.id);
            return true;
        }
        self.cgroups.insert(change.id, change.parent, &change.name)
    }

    /// All cgroups, as a walk found them from the root down: id, parent, name.
    pub fn walked(&mut self, found: &[(u64, u64, String)]) {
        for (id, parent, name) in found {
            self.cgroups.insert(*id, *parent, name);
        }
        let seen: HashSet<u64> = found.iter().map(|(id, ..)| *id).collect();
        self.cgroups.retain(&|id| seen.contains(&id));
    }

    /// All pods of the node.
    pub fn set_pods(&mut self, pods: Vec<Arc<Pod>>) {
        let mut now: HashMap<String, Arc<Pod>> = HashMap::new();
        for pod in pods {
            match now.entry(pod.cgroup_uid.clone()) {
                Entry::Vacant(free) => drop(free.insert(pod)),
                Entry::Occupied(mut taken) if self.was_first(&pod, taken.get()) => drop(taken.insert(pod)),
                Entry::Occupied(_) => {}
            }
        }
        let before = std::mem::replace(&mut self.pods, now);
        self.past.extend(before.into_iter().filter(|(uid, _)| !self.pods.contains_key(uid)).map(|(_, pod)| pod));
        while self.past.len() > PAST_PODS_MAX {
            self.past.pop_front();
        }
    }

    /// Of two pods that claim the same cgroups, whether `one` has them. Anybody may write what makes a pod look static: the
    /// one that has had them keeps them, and of two that are both new the older has them.
    fn was_first(&self, one: &Pod, other: &Pod) -> bool {
        let age = |pod: &Pod| {
            let had = self.pods.get(&pod.cgroup_uid).is_some_and(|before| before.uid == pod.uid);
            (!had, pod.created.is_none(), pod.created, pod.uid.clone())
        };
        age(one) < age(other)
    }

    /// Labels of all namespaces.
    pub fn set_namespaces(&mut self, namespaces: Namespaces) {
        self.namespaces = namespaces;
    }

    /// Labels of all namespaces, as far as they are known.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// All pods, by uid.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        let mut pods: Vec<Arc<Pod>> = self.pods.values().cloned().collect();
        pods.sort_by(|a, b| a.uid.cmp(&b.uid));
        pods
    }

    /// To whom a cgroup belongs.
    pub fn owner(&self, cgroup: u64) -> Owner {
        match self.cgroups.place(cgroup) {
            None if !self.cluster => Owner::Host,
            // The kernel's programs send nothing from outside the node; one that is not known yet will be.
            None => Owner::Undecided,
            Some(CgroupPlace::Host | CgroupPlace::AbovePods) => Owner::Host,
            Some(CgroupPlace::Pod { uid, container }) => match self.pod(uid) {
                Some(pod) => Owner::Pod(Arc::new(located(pod, container))),
                // Nobody will tell its name: the container's id is what there is to say.
                None if !self.cluster => Owner::Pod(Arc::new(nameless(uid, container))),
                None => Owner::Unnamed(Arc::new(nameless(uid, container))),
            },
        }
    }

    fn pod(&self, cgroup_uid: &str) -> Option<&Arc<Pod>> {
        self.pods.get(cgroup_uid).or_else(|| self.past.iter().rfind(|pod| pod.cgroup_uid == cgroup_uid))
    }

    /// Whether an owner is in a scope; none while it is undecided.
    pub fn in_scope(&self, scope: &PodScope, owner: &Owner) -> Option<bool> {
        let world = self.world();
        match owner {
            Owner::Pod(_) if !self.cluster => Some(host_in_scope(scope, &world)),
            Owner::Pod(found) => pod_in_scope(scope, &found.pod, &world),
            Owner::Host => Some(host_in_scope(scope, &world)),
            // As the kernel's map says of what lies above the pods.
            Owner::Unnamed(_) => every_pod(scope).then_some(true),
            Owner::Undecided => None,
            Owner::Elsewhere => Some(false),
        }
    }

    /// Whether a pod is in a scope; not while its namespace's labels are unknown.
    pub fn pod_in_scope(&self, scope: &PodScope, pod: &Pod) -> bool {
        pod_in_scope(scope, pod, &self.world()).unwrap_or(false)
    }

    /// What the kernel's map of cgroups is to hold.
    pub fn states(&self) -> HashMap<u64, CgroupState> {
        let mut states = HashMap::new();
        if self.slots.is_empty() {
            return states;
        }
        let world = self.world();
        states.insert(self.cgroups.root(), self.slots.of_root(&world));
        let mut of_pods: HashMap<&str, Option<CgroupState>> = HashMap::new();
        for (id, place) in self.cgroups.living() {
            let state = match place {
                // A pod has many cgroups, and one answer.
                CgroupPlace::Pod { uid, .. } => *of_pods
                    .entry(uid.as_str())
                    .or_insert_with(|| self.slots.of_cgroup(place, self.pods.get(uid).map(AsRef::as_ref), &world)),
                _ => self.slots.of_cgroup(place, None, &world),
            };
            if let Some(state) = state {
                states.insert(id, state);
            }
        }
        states
    }

    /// Path of a pod's own cgroup below the node's.
    pub fn pod_path(&self, cgroup_uid: &str) -> Option<String> {
        let of_pod = |place: &CgroupPlace| matches!(place, CgroupPlace::Pod { uid, container } if uid == cgroup_uid && container.is_empty());
        self.cgroups
            .living()
            .filter(|(_, place)| of_pod(place))
            .filter_map(|(id, _)| self.cgroups.path(id))
            .min_by_key(String::len)
    }

    fn world(&self) -> World<'_> {
        World { cluster: self.cluster, namespaces: &self.namespaces }
    }
}

fn located(pod: &Arc<Pod>, container_id: &str) -> PodContainer {
    let named = |id: &str| !container_id.is_empty() && id.rsplit("//").next() == Some(container_id);
    PodContainer {
        pod: pod.clone(),
        container: pod.containers.iter().find(|container| named(&container.id)).cloned(),
        container_id: container_id.to_owned(),
    }
}

fn nameless(cgroup_uid: &str, container_id: &str) -> PodContainer {
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

    /// Everything that makes a container known, to be told in any order.
    fn steps() -> Vec<Step> {
        let made = |id: u64, parent: u64, name: String| {
            let change = CgroupChange { id, parent, name, removed: false, time: 0 };
            Box::new(move |index: &mut Index| {
                if !index.cgroup_changed(&change) {
                    index.walked(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (4, 3, ID.into())]);
                }
            }) as Step
        };
        vec![
            made(2, 1, "kubepods".into()),
            made(3, 2, format!("pod{UID}")),
            made(4, 3, ID.into()),
            Box::new(|index: &mut Index| index.set_pods(vec![pod()])),
            Box::new(|index: &mut Index| assert_eq!(index.slots.take(&PodScope::default()), Some(0))),
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
    fn in_whatever_order_a_container_becomes_known_the_answer_is_the_same() {
        let steps = steps();
        for order in permutations(steps.len()) {
            let mut index = Index::new(1, true);
            for step in &order {
                steps[*step](&mut index);
            }
            let Owner::Pod(owner) = index.owner(4) else { panic!("{order:?}: {:?}", index.owner(4)) };
            assert_eq!(owner.container.as_ref().map(|container| container.name.as_str()), Some("app"), "{order:?}");
            let state = index.states()[&4];
            assert_eq!((state.decided, state.wanted), (1, 1), "{order:?}");
            assert_eq!(index.pod_path(UID), Some(format!("/kubepods/pod{UID}")));
        }
    }

    #[test]
    fn a_pods_cgroup_is_undecided_until_its_pod_is_known() {
        let mut index = Index::new(1, true);
        index.walked(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (9, 1, "system.slice".into())]);
        assert!(matches!(index.owner(3), Owner::Unnamed(_)), "{:?}", index.owner(3));
        assert_eq!(index.owner(9), Owner::Host);
        assert_eq!(index.owner(77), Owner::Undecided);
        assert_eq!(index.in_scope(&of_namespace("shop"), &index.owner(3)), None);
        assert_eq!(index.in_scope(&PodScope::default(), &index.owner(77)), None);
    }

    #[test]
    fn a_pod_without_a_name_is_one_of_every_pod_for_the_agent_as_for_the_kernel() {
        let mut index = Index::new(1, true);
        let and_host = PodScope { include_host: true, ..PodScope::default() };
        for scope in [PodScope::default(), and_host] {
            index.slots.take(&scope);
            index.walked(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
            assert_eq!(index.in_scope(&scope, &index.owner(3)), Some(true));
        }
        assert_eq!(index.states()[&2].wanted, 0b11);
    }

    fn of_namespace(name: &str) -> PodScope {
        PodScope { namespace: Some(name.into()), ..PodScope::default() }
    }

    #[test]
    fn without_a_cluster_a_containers_id_is_known_and_its_pod_has_no_name() {
        let mut index = Index::new(1, false);
        index.walked(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}")), (4, 3, ID.into())]);
        let Owner::Pod(owner) = index.owner(4) else { panic!("{:?}", index.owner(4)) };
        assert_eq!((owner.pod.name.as_str(), owner.container_id.as_str()), ("", ID));
        assert_eq!(index.in_scope(&PodScope::default(), &index.owner(4)), Some(true));
        assert_eq!(index.owner(77), Owner::Host);
    }

    /// A pod that claims the cgroups of `UID`.
    fn claims(uid: &str, created: i64) -> Arc<Pod> {
        let created = Some(Timestamp::from_second(created).unwrap());
        Arc::new(Pod { uid: uid.into(), name: uid.into(), created, ..Pod::clone(&pod()) })
    }

    #[test]
    fn of_two_pods_that_claim_the_same_cgroups_the_older_has_them_and_a_newcomer_never_takes_them() {
        let (old, new) = (claims("z-old", 10), claims("a-new", 20));
        for both in [[&old, &new], [&new, &old]] {
            let mut index = Index::new(1, true);
            index.set_pods(both.map(Arc::clone).to_vec());
            assert_eq!(index.pods(), std::slice::from_ref(&old));
        }
        let mut index = Index::new(1, true);
        index.set_pods(vec![new.clone()]);
        // Times have seconds, and a clock may have been wrong: who has been here stays.
        index.set_pods(vec![old.clone(), new.clone()]);
        assert_eq!(index.pods(), [new]);
        index.set_pods(vec![old.clone()]);
        assert_eq!(index.pods(), [old]);
    }

    #[test]
    fn every_cgroup_of_a_pod_has_the_pods_answer_and_another_pods_its_own() {
        let other = "8f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";
        let mut index = Index::new(1, true);
        index.slots.take(&of_namespace("shop"));
        index.set_pods(vec![
            pod(),
            Arc::new(Pod { uid: other.into(), cgroup_uid: other.into(), namespace: "till".into(), ..Pod::default() }),
        ]);
        index.walked(&[
            (2, 1, "kubepods".into()),
            (3, 2, format!("pod{UID}")),
            (4, 3, ID.into()),
            (5, 2, format!("pod{other}")),
            (6, 5, ID.into()),
        ]);
        let wanted = |id: u64| index.states().get(&id).map(|state| (state.decided, state.wanted));
        assert_eq!([3, 4, 5, 6].map(wanted), [Some((1, 1)), Some((1, 1)), Some((1, 0)), Some((1, 0))]);
    }

    #[test]
    fn a_cgroup_that_a_walk_does_not_find_is_not_written_any_more() {
        let mut index = Index::new(1, true);
        index.slots.take(&PodScope::default());
        index.set_pods(vec![pod()]);
        index.walked(&[(2, 1, "kubepods".into()), (3, 2, format!("pod{UID}"))]);
        assert!(index.states().contains_key(&3));
        index.walked(&[(2, 1, "kubepods".into())]);
        assert!(!index.states().contains_key(&3));
    }
}
