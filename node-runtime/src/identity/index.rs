//! The index that every layer reads: cgroups, pods, namespaces, selections and processes. Pure: no clock, no client, no lock.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::Arc,
};

use trilobite_crds::node::PodScope;
use trilobite_node_ebpf::{CGROUPS_MAX, cgroup_flag};

use super::{
    Owner, Pod, PodContainer,
    cgroup::{BundleName, CgroupLocation, CgroupTree},
    classes::{ClassAnswers, DesiredGroup, PodAnswersCache},
    decode::CgroupChange,
    process::cache::ProcessCache,
    selection::{
        ClusterView, Namespaces, PodPart, Scopes, ScopesFull, host_in_scope, pod_in_scope, unknown_pod_in_scope,
    },
};

#[derive(Debug, Default)]
pub struct Index {
    /// There is a cluster, whose API server names the pods.
    pub cluster: bool,
    pub processes: ProcessCache,
    scopes: Scopes,
    /// What the scopes answer about each pod.
    answers: PodAnswersCache,
    cgroups: CgroupTree,
    pods: HashMap<String, Arc<Pod>>,
    deleted_pods: VecDeque<Arc<Pod>>,
    namespaces: Namespaces,
    /// What the bundles of containers say that the API server has not named; none where a bundle was not readable.
    bundles: HashMap<String, Option<BundleName>>,
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
        let known: HashSet<&str> = self.deleted_pods.iter().map(|pod| pod.cgroup_uid.as_str()).collect();
        self.answers.retain(|uid| self.pods.contains_key(uid) || known.contains(uid));
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
        if self.namespaces != namespaces {
            self.answers.clear();
        }
        self.namespaces = namespaces;
    }

    /// The id of a scope, for one more user.
    pub fn acquire_scope(&mut self, scope: &PodScope) -> Result<u32, ScopesFull> {
        let acquired = self.scopes.acquire(scope)?;
        if acquired.is_new {
            let view = ClusterView { cluster: self.cluster, namespaces: &self.namespaces };
            self.answers.add_scope(acquired.id, scope, &view);
        }
        Ok(acquired.id)
    }

    pub fn release_scope(&mut self, id: u32) {
        if self.scopes.release(id) {
            self.answers.remove_scope(id);
        }
    }

    /// Some scope depends on the labels of namespaces.
    pub fn needs_namespaces(&self) -> bool {
        self.scopes.needs_namespaces()
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

    /// Cgroups of the pods that are wanted, also of those that were deleted lately.
    pub fn cgroups_of(&self, is_wanted: impl Fn(&Pod) -> bool) -> Vec<u64> {
        let is_of_wanted = |location: &CgroupLocation| match location {
            CgroupLocation::Pod { uid, .. } => self.pod(uid).is_some_and(|pod| is_wanted(pod)),
            CgroupLocation::Host | CgroupLocation::AbovePods => false,
        };
        self.cgroups.remembered().filter(|(_, location)| is_of_wanted(location)).map(|(id, _)| id).collect()
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
            Owner::Pod(found) => {
                pod_in_scope(scope, &found.pod, pod_part(&found.pod, &found.container_id, &self.bundles), &view)
            }
            Owner::Host => Some(host_in_scope(scope, &view)),
            // As the kernel decides, which has their cgroups as those of pods that are not known.
            Owner::Unnamed(_) => unknown_pod_in_scope(scope),
            Owner::Unknown => None,
            Owner::Elsewhere => Some(false),
        }
    }

    /// Whether a pod, or any container of it, is in a scope; false while the labels of its namespace are unknown.
    pub fn pod_in_scope(&self, scope: &PodScope, pod: &Pod) -> bool {
        pod_in_scope(scope, pod, PodPart::Whole, &self.view()).unwrap_or(false)
    }

    /// How many pods that have not ended are in a scope.
    pub fn count_pods(&self, scope: &PodScope) -> usize {
        self.pods.values().filter(|pod| !pod.ended && self.pod_in_scope(scope, pod)).count()
    }

    /// The cgroups that should have a class, by what every scope answers.
    pub(in crate::identity) fn desired_groups(&mut self) -> Vec<DesiredGroup> {
        if self.scopes.is_empty() {
            return Vec::new();
        }
        let view = ClusterView { cluster: self.cluster, namespaces: &self.namespaces };
        let host = self.scopes.answers(|scope| Some(host_in_scope(scope, &view)));
        let mut groups = vec![DesiredGroup { answers: host, flags: 0, cgroups: self.host_cgroups() }];
        if !self.cluster {
            return groups;
        }
        let mut unknown = Vec::new();
        let mut by_container: HashMap<(&str, &str), Vec<u64>> = HashMap::new();
        for (id, location) in self.cgroups.living() {
            match location {
                CgroupLocation::Host => {}
                CgroupLocation::AbovePods => unknown.push(id),
                CgroupLocation::Pod { uid, container } => by_container.entry((uid, container)).or_default().push(id),
            }
        }
        for ((uid, container), cgroups) in by_container {
            let known = self.pods.get(uid).or_else(|| self.deleted_pods.iter().rfind(|pod| pod.cgroup_uid == uid));
            match known {
                Some(pod) => {
                    let part = pod_part(pod, container, &self.bundles);
                    let answers = self.answers.get(pod, part, &self.scopes, &view);
                    groups.push(DesiredGroup { answers, flags: cgroup_flag::INHERIT, cgroups });
                }
                None => unknown.extend(cgroups),
            }
        }
        let answers = self.scopes.answers(unknown_pod_in_scope);
        groups.push(DesiredGroup { answers, flags: cgroup_flag::INHERIT, cgroups: unknown });
        groups
    }

    /// The node's own cgroup, which speaks for all below it that have no class; and those outside every pod, so that no call of
    /// a service of the node has to look for it on the way up. Pods come first where the kernel's map could become full.
    fn host_cgroups(&self) -> Vec<u64> {
        let mut cgroups = vec![self.cgroups.root()];
        if self.cgroups.living().count() <= CGROUPS_MAX as usize / 2 {
            let is_host = |location: &CgroupLocation| !self.cluster || matches!(location, CgroupLocation::Host);
            cgroups.extend(self.cgroups.living().filter(|(_, location)| is_host(location)).map(|(id, _)| id));
        }
        cgroups
    }

    /// How many classes the cgroups of this node need.
    pub(in crate::identity) fn needed_classes(&mut self) -> usize {
        self.desired_groups().iter().map(|group| group.answers).collect::<HashSet<_>>().len()
    }

    /// Ids of containers that neither the API server nor a bundle has named; none while no scope is about containers.
    pub(in crate::identity) fn unnamed_containers(&mut self) -> Vec<String> {
        if !self.scopes.needs_containers() {
            self.bundles.clear();
            return Vec::new();
        }
        let living = self.cgroups.living().filter_map(|(_, location)| match location {
            CgroupLocation::Pod { uid, container } if !container.is_empty() => Some((uid, container)),
            _ => None,
        });
        let mut found = HashSet::new();
        let mut unnamed = Vec::new();
        for (uid, container) in living.filter(|(_, container)| found.insert(container.as_str())) {
            let is_named = self.pods.get(uid).is_some_and(|pod| pod.container(container).is_some());
            if !is_named && !self.bundles.contains_key(container) {
                unnamed.push(container.clone());
            }
        }
        self.bundles.retain(|id, _| found.contains(id.as_str()));
        unnamed
    }

    /// What the bundle of a container says, if it was readable.
    pub(in crate::identity) fn set_bundle(&mut self, container_id: String, name: Option<BundleName>) {
        self.bundles.insert(container_id, name);
    }

    /// Answers that have a decision for each scope that exists.
    pub(in crate::identity) fn existing_scopes(&self) -> ClassAnswers {
        self.scopes.answers(|_| Some(false))
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

/// The part of a pod that has this container id.
fn pod_part<'a>(pod: &'a Pod, container_id: &str, bundles: &HashMap<String, Option<BundleName>>) -> PodPart<'a> {
    if let Some(container) = pod.container(container_id) {
        return PodPart::Container(container);
    }
    match bundles.get(container_id) {
        Some(Some(BundleName::Sandbox)) => PodPart::Sandbox,
        Some(Some(BundleName::Container(name))) => {
            let named = pod.containers.iter().find(|container| container.name == *name);
            named.map_or(PodPart::Unnamed, PodPart::Container)
        }
        Some(None) | None => PodPart::Unnamed,
    }
}

fn pod_container(pod: &Arc<Pod>, container_id: &str) -> PodContainer {
    PodContainer {
        pod: pod.clone(),
        container: pod.container(container_id).cloned(),
        container_id: container_id.to_owned(),
    }
}

fn unnamed_container(cgroup_uid: &str, container_id: &str) -> PodContainer {
    let pod = Pod { uid: cgroup_uid.to_owned(), cgroup_uid: cgroup_uid.to_owned(), ..Pod::default() };
    PodContainer { pod: Arc::new(pod), container: None, container_id: container_id.to_owned() }
}

#[cfg(test)]
mod tests;
