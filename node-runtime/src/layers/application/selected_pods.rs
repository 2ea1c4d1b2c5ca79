//! The pods of a session: which cgroups are theirs, and the lease of their scope, which lives as long as programs ask for it.

use std::sync::Arc;

use trilobite_crds::node::PodScope;

use super::membership::Membership;
use crate::{
    identity::{IdentityService, Owner, Pod, ScopeLease, SelectionMaps, selection},
    problem::Problem,
};

pub(super) struct SelectedPods {
    identity: IdentityService,
    scope: PodScope,
    /// None once no program asks for the scope any more.
    lease: Option<ScopeLease>,
}

impl SelectedPods {
    pub(super) fn select(identity: &IdentityService, wanted: &PodScope) -> Result<Self, Problem> {
        let scope = scope_on_node(identity, wanted);
        let lease = Some(identity.select(&scope)?);
        Ok(Self { identity: identity.clone(), scope, lease })
    }

    /// No program asks for the scope any more: its bits in the kernel's maps may go.
    pub(super) fn release(&mut self) {
        self.lease = None;
    }

    /// The scope on this machine.
    pub(super) fn scope(&self) -> &PodScope {
        &self.scope
    }

    /// The bit of the scope in the answers of a class, and the kernel's maps of cgroups and classes. `what` is what needs them.
    pub(super) fn selection(&self, what: &str) -> Result<(u32, SelectionMaps), Problem> {
        let scope = self.lease.as_ref().map(ScopeLease::id);
        scope
            .zip(self.identity.selection_maps())
            .ok_or_else(|| Problem::LoadFailed { what: what.into(), detail: "the map of cgroups is not there".into() })
    }

    pub(super) fn membership(&self, cgroup: u64) -> Membership {
        match self.identity.in_scope(&self.scope, &self.owner(cgroup)) {
            Some(true) => Membership::Selected,
            Some(false) => Membership::NotSelected,
            None => Membership::Unknown,
        }
    }

    pub(super) fn owner(&self, cgroup: u64) -> Owner {
        self.identity.owner(cgroup)
    }

    pub(super) fn identity(&self) -> &IdentityService {
        &self.identity
    }

    /// The pods that are selected now.
    pub(super) fn pods(&self) -> impl Iterator<Item = Arc<Pod>> {
        self.identity.pods().into_iter().filter(|pod| self.identity.pod_in_scope(&self.scope, pod))
    }

    /// The number of pods that are selected now.
    pub(super) fn count(&self) -> usize {
        self.identity.count_pods(&self.scope)
    }
}

fn scope_on_node(identity: &IdentityService, wanted: &PodScope) -> PodScope {
    if identity.has_cluster() { wanted.clone() } else { selection::scope_without_cluster(wanted) }
}

/// Why a scope can select nothing on this machine.
pub(super) fn note_without_cluster(identity: &IdentityService, wanted: &PodScope) -> Option<Problem> {
    let selects_nothing = !identity.has_cluster() && !selection::selects_every_pod(&scope_on_node(identity, wanted));
    selects_nothing.then(|| Problem::Unsupported {
        field: "spec.podSelector".into(),
        detail: "without a cluster no pod is known, so this selects nothing; write podSelector: {}".into(),
    })
}
