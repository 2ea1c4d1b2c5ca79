//! Which nodes are given the session, and from which it is taken. Pure.

use std::{collections::BTreeSet, marker::PhantomData};

use jiff::Timestamp;
use trilobite_crds::{
    node::{NodeRuntime, PodScope, Session, SessionContent},
    selector::Labels,
};

use super::{Bounded, dereference::Found, session_patch::Target, validate::Valid};

/// Most sessions of a node, as in the schema of NodeRuntime.
const MAX_SESSIONS: usize = 64;

/// Built, not applied.
#[derive(Debug)]
pub(super) enum Prepared {}
/// In the API server.
#[derive(Debug)]
pub(super) enum Applied {}

/// What is done to node runtimes.
#[derive(Debug, PartialEq)]
pub(super) struct Sessions<Phase> {
    /// Nodes that must not have it any more, or have one of an object of the same name that is gone. Taken before any is given.
    pub(super) take: Vec<(Target, String)>,
    /// Nodes that lack it.
    pub(super) give: Vec<(Target, Session)>,
    /// All nodes that are to have it after this; none while the pods are not known.
    pub(super) nodes: Option<BTreeSet<String>>,
    /// Those of them that have no room for it.
    pub(super) full: BTreeSet<String>,
    /// The stack's layer leaves this namespace out.
    pub(super) out_of_scope: bool,
    pub(super) phase: PhantomData<Phase>,
}

/// A session that a node has.
struct Held {
    target: Target,
    session: Session,
}

impl Held {
    fn taken(&self) -> (Target, String) {
        (self.target.clone(), self.session.name.clone())
    }
}

pub(super) fn run<K: Bounded>(object: &K, valid: &Valid, found: &Found) -> Sessions<Prepared> {
    let name = name(object);
    let held = found.runtimes.values().filter_map(|runtime| {
        let position = runtime.spec.sessions.iter().position(|session| session.name == name)?;
        Some(Held { target: Target::of(runtime, Some(position))?, session: runtime.spec.sessions[position].clone() })
    });
    let held: Vec<Held> = held.collect();
    let none = |nodes| Sessions {
        take: Vec::new(),
        give: Vec::new(),
        nodes,
        full: BTreeSet::new(),
        out_of_scope: false,
        phase: PhantomData,
    };
    // One with another end was given for an object of the same name that is gone.
    let stale = |end: Timestamp| held.iter().filter(move |held| held.session.expires_at != end);
    match valid {
        Valid::Unknowable => none(None),
        Valid::Refused(_) | Valid::Suspended | Valid::Over => {
            Sessions { take: held.iter().map(Held::taken).collect(), ..none(None) }
        }
        Valid::Starting(session, _) => {
            Sessions { take: stale(session.expires_at).map(Held::taken).collect(), ..none(None) }
        }
        Valid::Ending(session, _) => {
            let last = held.iter().filter(|held| held.session.expires_at == session.expires_at);
            let nodes = last.map(|held| held.target.node.clone()).collect();
            Sessions { take: stale(session.expires_at).map(Held::taken).collect(), ..none(Some(nodes)) }
        }
        Valid::Running(session, _) => {
            let Some(pods) = &found.pods else { return none(None) };
            let namespace = object.meta().namespace.as_deref().unwrap_or_default();
            let scope = scope(session);
            let in_scope = |labels| scope.matches(namespace, &found.namespace_labels, labels).unwrap_or(false);
            let wanted: BTreeSet<&str> =
                pods.iter().filter(|pod| in_scope(&pod.labels)).map(|pod| pod.node.as_str()).collect();
            // A node keeps its session though its pods went: they may come back, and what was counted stays counted.
            let right: BTreeSet<&str> =
                held.iter().filter(|held| held.session == *session).map(|held| held.target.node.as_str()).collect();
            // What differs otherwise is made right where it is wanted, and taken where it is not: its scope has shrunk.
            let wrong = held.iter().filter(|held| held.session != *session);
            let take = wrong
                .filter(|held| {
                    held.session.expires_at != session.expires_at || !wanted.contains(held.target.node.as_str())
                })
                .map(Held::taken)
                .collect();
            let lacking = || wanted.iter().copied().filter(|node| !right.contains(node));
            let full =
                lacking().filter(|node| found.runtimes.get(*node).is_some_and(|runtime| is_full(runtime, &name)));
            let full: BTreeSet<String> = full.map(str::to_owned).collect();
            let give = lacking()
                .filter(|node| !full.contains(*node))
                .filter_map(|node| Target::of(found.runtimes.get(node)?, None))
                .map(|target| (target, session.clone()))
                .collect();
            let nodes = wanted.iter().chain(&right).map(|node| (*node).to_owned()).collect();
            Sessions { take, give, full, out_of_scope: is_out_of_scope(scope, namespace, found), ..none(Some(nodes)) }
        }
    }
}

/// Whether the node's list has no room for one more.
fn is_full(runtime: &NodeRuntime, name: &str) -> bool {
    runtime.spec.sessions.iter().filter(|session| session.name != name).count() >= MAX_SESSIONS
}

/// Whether no pod of the namespace can be meant, whatever its labels.
fn is_out_of_scope(scope: &PodScope, namespace: &str, found: &Found) -> bool {
    let of_namespaces = PodScope { pod_selector: None, ..scope.clone() };
    !of_namespaces.matches(namespace, &found.namespace_labels, &Labels::new()).unwrap_or(false)
}

/// As the planner names it, also where it cannot be planned.
fn name<K: Bounded>(object: &K) -> String {
    let kind = format!("{:?}", K::SOURCE_KIND).to_ascii_lowercase();
    let source = object.source();
    format!("{kind}.{}.{}", source.namespace.unwrap_or_default(), source.name)
}

fn scope(session: &Session) -> &PodScope {
    match &session.content {
        SessionContent::CpuProfile(content) => &content.pods,
        SessionContent::Flows(content) => &content.pods,
    }
}
