//! Enriches events: which process and pod they belong to, which consumers select them, and whether they have to wait until
//! that is known.

use std::sync::{Arc, atomic::AtomicU64};

use trilobite_crds::node::PodScope;

use super::event::{SecurityEvent, SecurityEventKind};
use crate::{
    identity::{ExecKey, IdentityService, Located, Owner, Process, pending::Disposition},
    kernel::clock,
};

/// How long an event waits for its pod to become known, in nanoseconds.
pub(super) const POD_TIMEOUT: u64 = 5_000_000_000;
/// How long an event waits for the exec record of its process, in nanoseconds.
pub(super) const PROCESS_TIMEOUT: u64 = 1_000_000_000;

/// The most ancestors that an event has; a longer chain is a loop of reused keys.
const ANCESTORS: usize = 64;

/// A unit that events are for.
#[derive(Debug)]
pub struct EventConsumer {
    /// Losses are recorded under this name: the resource, in the format of `Source`.
    pub name: String,
    pub scope: Arc<PodScope>,
    /// Events delivered so far.
    pub records: AtomicU64,
}

impl EventConsumer {
    pub fn new(name: String, scope: Arc<PodScope>) -> Self {
        Self { name, scope, records: AtomicU64::new(0) }
    }
}

/// An event whose pod may not be known yet.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Cgroup in which it happened.
    pub cgroup: u64,
    pub process: Arc<Process>,
    pub parent: Option<Arc<Process>>,
    pub kind: SecurityEventKind,
    /// The units whose scope may select it.
    pub consumers: Arc<[Arc<EventConsumer>]>,
}

impl PendingEvent {
    /// Identifies the list of consumers while one event has it.
    pub(super) fn consumers_id(&self) -> usize {
        Arc::as_ptr(&self.consumers).cast::<u8>().addr()
    }
}

/// The owner of a cgroup, and for each consumer whether its scope selects that owner: none while that is unknown.
pub(super) struct OwnerLookup {
    pub(super) owner: Owner,
    pub(super) selected: Vec<Option<bool>>,
    /// The kubelet will report the name of the container soon.
    awaits_name: bool,
}

impl OwnerLookup {
    pub(super) fn new(identity: &IdentityService, event: &PendingEvent) -> Self {
        let owner = identity.owner(event.cgroup);
        let narrowed = match &event.kind {
            SecurityEventKind::Hook(hook) => hook.selector.scope.as_deref(),
            SecurityEventKind::Exec | SecurityEventKind::Exit { .. } => None,
        };
        let scope = |consumer: &'_ Arc<EventConsumer>| identity.in_scope(narrowed.unwrap_or(&consumer.scope), &owner);
        let selected = event.consumers.iter().map(scope).collect();
        let unnamed = match &owner {
            Owner::Pod(found) => found.container.is_none() && !found.container_id.is_empty(),
            Owner::Unnamed(_) => true,
            _ => false,
        };
        Self { owner, selected, awaits_name: unnamed && identity.has_cluster() }
    }

    pub(super) fn is_selected(&self) -> bool {
        self.selected.contains(&Some(true))
    }

    fn is_known(&self) -> bool {
        !self.selected.contains(&None)
    }

    /// What happens to an event that has waited for `age` nanoseconds.
    pub(super) fn decide(&self, identity: &IdentityService, event: &mut PendingEvent, age: u64) -> Disposition {
        let expired = age >= POD_TIMEOUT;
        if self.is_selected() {
            // The kubelet reports a container's name some moments after the container has started.
            let waits = self.awaits_name && !expired;
            return if waits || !resolve_process(identity, event, age) {
                Disposition::Wait
            } else {
                Disposition::Deliver
            };
        }
        match (self.is_known(), expired) {
            (true, _) => Disposition::Drop,
            (false, true) => Disposition::Expire,
            (false, false) => Disposition::Wait,
        }
    }

    /// The event with everything that clients see.
    pub(super) fn enrich(
        &self,
        identity: &IdentityService,
        event: PendingEvent,
        with_ancestors: bool,
    ) -> SecurityEvent {
        let located = |process: Arc<Process>| {
            // A child is almost always in its parent's cgroup.
            let same_cgroup = process.cgroup == event.cgroup;
            let owner = if same_cgroup { self.owner.clone() } else { identity.owner(process.cgroup) };
            Located::new(process, owner)
        };
        let ancestors = match &event.parent {
            Some(parent) if with_ancestors => find_ancestors(identity, parent).into_iter().map(located).collect(),
            _ => Vec::new(),
        };
        SecurityEvent {
            time: clock::wall_time(event.time),
            parent: event.parent.map(located),
            ancestors,
            process: Located::new(event.process, self.owner.clone()),
            kind: event.kind,
        }
    }
}

/// From the parent's parent on, as far as the cache has them.
fn find_ancestors(identity: &IdentityService, parent: &Process) -> Vec<Arc<Process>> {
    let mut ancestors: Vec<Arc<Process>> = Vec::new();
    let mut key = parent.parent;
    while ancestors.len() < ANCESTORS
        && let Some(ancestor) = identity.process(key)
    {
        key = ancestor.parent;
        ancestors.push(ancestor);
    }
    ancestors
}

/// The process of a key and its parent; an unknown process where the cache has no such key.
pub(super) fn find_process(
    identity: &IdentityService,
    key: ExecKey,
    cgroup: u64,
) -> (Arc<Process>, Option<Arc<Process>>) {
    let process = identity.process(key).unwrap_or_else(|| Arc::new(Process::unknown(key, cgroup)));
    let parent = identity.process(process.parent);
    (process, parent)
}

/// False while the process may still become known: during an exec the new key is in use before its record arrives.
fn resolve_process(identity: &IdentityService, event: &mut PendingEvent, age: u64) -> bool {
    if event.process.is_known() || age >= PROCESS_TIMEOUT {
        return true;
    }
    let Some(process) = identity.process(event.process.key) else { return false };
    event.parent = identity.process(process.parent);
    event.process = process;
    true
}
