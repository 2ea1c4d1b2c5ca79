//! `Sessions`: to which NodeRuntimes the session is added, and from which it is removed. Pure.

use std::{collections::BTreeSet, marker::PhantomData};

use jiff::Timestamp;
use trilobite_crds::{
    node::{MAX_SESSIONS, NodeRuntime, PodScope, Session},
    selector::Labels,
};

use super::{
    dereference::DereferencedResource, resource::TimeLimited, session_patch::RuntimeRef, validate::ValidatedResource,
};
use crate::controllers::phase::Prepared;

#[derive(Debug, PartialEq)]
pub(super) struct Sessions<Phase> {
    /// Removed first: from nodes that must not have it any more, or have that of a deleted object of the same name.
    pub(super) remove: Vec<(RuntimeRef, String)>,
    pub(super) add: Vec<(RuntimeRef, Session)>,
    /// All nodes that should have the session afterwards; none while the pods are unknown.
    pub(super) nodes: Option<BTreeSet<String>>,
    /// Those of them that have no room for it.
    pub(super) full_nodes: BTreeSet<String>,
    /// The layer's namespaceSelector in the stack excludes the resource's namespace.
    pub(super) out_of_scope: bool,
    pub(super) phase: PhantomData<Phase>,
}

impl Sessions<Prepared> {
    fn unchanged(nodes: Option<BTreeSet<String>>) -> Self {
        Self {
            remove: Vec::new(),
            add: Vec::new(),
            nodes,
            full_nodes: BTreeSet::new(),
            out_of_scope: false,
            phase: PhantomData,
        }
    }
}

/// A session of this name in the spec of a NodeRuntime.
struct ExistingSession {
    runtime: RuntimeRef,
    session: Session,
}

impl ExistingSession {
    fn removal(&self) -> (RuntimeRef, String) {
        (self.runtime.clone(), self.session.name.clone())
    }
}

pub(super) fn build<K: TimeLimited>(
    object: &K,
    validated: &ValidatedResource,
    dereferenced: &DereferencedResource,
) -> Sessions<Prepared> {
    let name = session_name(object);
    let existing = existing_sessions(dereferenced, &name);
    // A session with another end was added for a deleted object of the same name.
    let remove_stale = |end: Timestamp| {
        existing.iter().filter(|existing| existing.session.expires_at != end).map(ExistingSession::removal).collect()
    };
    match validated {
        ValidatedResource::StackUnreadable => Sessions::unchanged(None),
        ValidatedResource::Completed(Some(session)) => {
            Sessions { remove: remove_stale(session.expires_at), ..Sessions::unchanged(None) }
        }
        ValidatedResource::Refused(_) | ValidatedResource::Suspended | ValidatedResource::Completed(None) => {
            Sessions { remove: existing.iter().map(ExistingSession::removal).collect(), ..Sessions::unchanged(None) }
        }
        ValidatedResource::Starting(session, _) => {
            Sessions { remove: remove_stale(session.expires_at), ..Sessions::unchanged(None) }
        }
        ValidatedResource::Ending(session, _) => {
            let current = existing.iter().filter(|existing| existing.session.expires_at == session.expires_at);
            let nodes = current.map(|existing| existing.runtime.node.clone()).collect();
            Sessions { remove: remove_stale(session.expires_at), ..Sessions::unchanged(Some(nodes)) }
        }
        ValidatedResource::Running(session, _) => running(object, session, &existing, dereferenced),
    }
}

fn running<K: TimeLimited>(
    object: &K,
    session: &Session,
    existing: &[ExistingSession],
    dereferenced: &DereferencedResource,
) -> Sessions<Prepared> {
    let Some(pods) = &dereferenced.pods else { return Sessions::unchanged(None) };
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let scope = session.content.pods();
    let in_scope = |labels| scope.matches(namespace, &dereferenced.namespace_labels, labels).unwrap_or(false);
    let with_pods: BTreeSet<&str> =
        pods.iter().filter(|pod| in_scope(&pod.labels)).map(|pod| pod.node.as_str()).collect();
    // A node keeps its session after its pods are gone: they may come back, and its counts must not be lost.
    let current = existing.iter().filter(|existing| existing.session.is_same(session));
    let current: BTreeSet<&str> = current.map(|existing| existing.runtime.node.as_str()).collect();
    // A session that differs only in its scope is replaced on nodes with pods, and removed from others.
    let outdated = existing.iter().filter(|existing| !existing.session.is_same(session));
    let remove = outdated
        .filter(|existing| {
            existing.session.expires_at != session.expires_at || !with_pods.contains(existing.runtime.node.as_str())
        })
        .map(ExistingSession::removal)
        .collect();
    let missing = || with_pods.iter().copied().filter(|node| !current.contains(node));
    let has_no_room =
        |node: &str| dereferenced.runtimes.get(node).is_some_and(|runtime| is_full(runtime, &session.name));
    let full_nodes: BTreeSet<String> = missing().filter(|node| has_no_room(node)).map(str::to_owned).collect();
    let add = missing()
        .filter(|node| !full_nodes.contains(*node))
        .filter_map(|node| RuntimeRef::new(dereferenced.runtimes.get(node)?, None))
        .map(|runtime| (runtime, session.clone()))
        .collect();
    let nodes = with_pods.iter().chain(&current).map(|node| (*node).to_owned()).collect();
    let out_of_scope = is_out_of_scope(scope, namespace, dereferenced);
    Sessions { remove, add, full_nodes, out_of_scope, ..Sessions::unchanged(Some(nodes)) }
}

fn existing_sessions(dereferenced: &DereferencedResource, name: &str) -> Vec<ExistingSession> {
    let existing = dereferenced.runtimes.values().filter_map(|runtime| {
        let index = runtime.spec.sessions.iter().position(|session| session.name == name)?;
        let session = runtime.spec.sessions[index].clone();
        Some(ExistingSession { runtime: RuntimeRef::new(runtime, Some(index))?, session })
    });
    existing.collect()
}

fn is_full(runtime: &NodeRuntime, name: &str) -> bool {
    runtime.spec.sessions.iter().filter(|session| session.name != name).count() >= MAX_SESSIONS
}

/// Whether no pod of the namespace can match, whatever its labels.
fn is_out_of_scope(scope: &PodScope, namespace: &str, dereferenced: &DereferencedResource) -> bool {
    let namespaces_only = PodScope { pod_selector: None, ..scope.clone() };
    !namespaces_only.matches(namespace, &dereferenced.namespace_labels, &Labels::new()).unwrap_or(false)
}

/// The planner's name for the session, also for an object that is refused and has no planned session.
fn session_name<K: TimeLimited>(object: &K) -> String {
    let kind = format!("{:?}", K::SOURCE_KIND).to_ascii_lowercase();
    let source = object.source();
    format!("{kind}.{}.{}", source.namespace.unwrap_or_default(), source.name)
}
