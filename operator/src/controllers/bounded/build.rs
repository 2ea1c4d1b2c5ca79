//! Which nodes are given the session, and from which it is taken. Pure.

use std::{collections::BTreeSet, marker::PhantomData};

use trilobite_crds::node::{PodScope, Session, SessionContent};

use super::{Bounded, dereference::Found, session_patch::Target, validate::Valid};

/// Built, not applied.
#[derive(Debug)]
pub(super) enum Prepared {}
/// In the API server.
#[derive(Debug)]
pub(super) enum Applied {}

/// What is done to node runtimes.
#[derive(Debug, PartialEq)]
pub(super) struct Sessions<Phase> {
    /// Nodes that lack it.
    pub(super) give: Vec<(Target, Session)>,
    /// Nodes that must not have it any more.
    pub(super) take: Vec<(Target, String)>,
    /// All nodes that have it after this; none while the pods are not known.
    pub(super) nodes: Option<BTreeSet<String>>,
    pub(super) phase: PhantomData<Phase>,
}

pub(super) fn run<K: Bounded>(object: &K, valid: &Valid, found: &Found) -> Sessions<Prepared> {
    let name = name(object);
    let holders = found.runtimes.values().filter_map(|runtime| {
        let position = runtime.spec.sessions.iter().position(|session| session.name == name)?;
        Some((Target::of(runtime, Some(position))?, runtime.spec.sessions[position].clone()))
    });
    let none = |nodes| Sessions { give: Vec::new(), take: Vec::new(), nodes, phase: PhantomData };
    match valid {
        Valid::Starting(..) => none(None),
        Valid::Refused(_) | Valid::Suspended | Valid::Over => {
            Sessions { take: holders.map(|(target, session)| (target, session.name)).collect(), ..none(None) }
        }
        Valid::Ending(..) => none(Some(holders.map(|(target, _)| target.node).collect())),
        Valid::Running(session, _) => {
            let Some(pods) = &found.pods else { return none(None) };
            let namespace = object.meta().namespace.as_deref().unwrap_or_default();
            let scope = scope(session);
            let in_scope = |labels| scope.matches(namespace, &found.namespace_labels, labels).unwrap_or(false);
            let wanted: BTreeSet<&str> =
                pods.iter().filter(|pod| in_scope(&pod.labels)).map(|pod| pod.node.as_str()).collect();
            let there: Vec<(Target, Session)> = holders.collect();
            // A node keeps its session though its pods went: they may come back, and what was counted stays counted.
            let right: BTreeSet<String> =
                there.iter().filter(|(_, held)| held == session).map(|(target, _)| target.node.clone()).collect();
            let give = wanted
                .iter()
                .filter(|node| !right.contains(**node))
                .filter_map(|node| Target::of(found.runtimes.get(*node)?, None))
                .map(|target| (target, session.clone()))
                .collect();
            let nodes = wanted.iter().map(|node| (*node).to_owned()).chain(right).collect();
            Sessions { give, ..none(Some(nodes)) }
        }
    }
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
