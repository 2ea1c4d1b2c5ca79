//! The index: nodes, agents, node runtimes and what every resource asks for. Pure: no clock, no client, no lock.
//! Events go in, the keys whose status may differ come out, and a status is computed for a key and a time.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use trilobite_crds::{
    Reason, ResourceStatus,
    condition::{ConditionStatus, ConditionType, find, merge},
    node::{RESULT_WITHIN, SessionState, SessionStatus, SourceKind},
    status::ProfileResults,
};

use super::{
    Key, Written,
    asked::{Asked, Report, Rollout, SessionAsked, Wanted},
    conditions::{Case, Over, SessionTally, findings, summary},
    facts::{AgentFact, NodeFact, PodsRefused, RuntimeFact},
    node::{NodeView, Patience, Standing, standing},
    tally::Tally,
    words,
};
use crate::selection::Fleet;

/// How long after its end a session waits for the last word of its nodes: until each has made its result, or has said that
/// it could not, and a little longer, because that has to be told.
const LAST_WORDS: Duration = RESULT_WITHIN.saturating_add(Duration::from_secs(15));

#[derive(Debug)]
struct Entry {
    asked: Asked,
    /// The last line of each node about this session.
    lines: BTreeMap<String, SessionStatus>,
    trouble: Option<(Reason, String)>,
}

/// A status, and when it has to be computed again though nothing happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Computed {
    pub(crate) written: Written,
    pub(crate) next: Option<Timestamp>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Index {
    patience: Patience,
    /// Where the agents' pods are, for the words that say how to look at them.
    namespace: String,
    nodes: BTreeMap<String, NodeFact>,
    /// By the name of the pod.
    agents: BTreeMap<String, AgentFact>,
    /// The pod on each node; made when it is first asked for, and gone with the next change of an agent.
    by_node: OnceCell<BTreeMap<String, String>>,
    runtimes: BTreeMap<String, RuntimeFact>,
    /// Since when a node's agent is away, or a node was told what it now has to run.
    since: BTreeMap<String, Timestamp>,
    fleet: Option<Fleet>,
    /// From which template the agents' pods are made now.
    template: Option<String>,
    profiles: BTreeMap<String, BTreeSet<String>>,
    rollout: Rollout,
    /// Why agents' pods are refused, and when that was said.
    pods_refused: Option<(PodsRefused, Timestamp)>,
    asked: BTreeMap<Key, Entry>,
    dirty: BTreeSet<Key>,
}

impl Index {
    pub(crate) fn new(patience: Patience, namespace: impl Into<String>) -> Self {
        Self {
            patience,
            namespace: namespace.into(),
            nodes: BTreeMap::new(),
            agents: BTreeMap::new(),
            by_node: OnceCell::new(),
            runtimes: BTreeMap::new(),
            since: BTreeMap::new(),
            fleet: None,
            template: None,
            profiles: BTreeMap::new(),
            rollout: Rollout::Moving,
            pods_refused: None,
            asked: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Whether anything changed that can matter to anybody.
    pub(crate) fn node(&mut self, name: &str, fact: Option<NodeFact>) -> bool {
        let changed = put(&mut self.nodes, name, fact);
        if changed {
            self.everything_is_dirty();
        }
        changed
    }

    pub(crate) fn agent(&mut self, pod: &str, fact: Option<AgentFact>, now: Timestamp) {
        let known = self.agents.get(pod);
        let node = fact.as_ref().or(known).map(|agent| agent.node.clone());
        // One that was there before this operator has fared so since it says, not since somebody looked.
        let since = fact.as_ref().filter(|_| known.is_none()).and_then(|agent| agent.since).unwrap_or(now);
        // A pod that could be made shows that pods may be made.
        self.pods_refused = self.pods_refused.take().filter(|_| fact.is_none());
        if put(&mut self.agents, pod, fact) {
            self.by_node.take();
            if let Some(node) = node {
                self.since_at_least(&node, since.min(now));
            }
            self.everything_is_dirty();
        }
    }

    /// Whether anything changed that a controller acts upon: counts of records are only said.
    pub(crate) fn runtime(&mut self, name: &str, fact: Option<RuntimeFact>, now: Timestamp) -> bool {
        let before = self.runtimes.get(name);
        let acted_upon = before.map(RuntimeFact::acted_upon) != fact.as_ref().map(RuntimeFact::acted_upon);
        let since = match (before, &fact) {
            (Some(before), Some(fact)) if before.generation == fact.generation => None,
            (None, Some(fact)) => Some(fact.told_at.unwrap_or(now)),
            _ => Some(now),
        };
        let news = match (before, &fact) {
            (Some(before), Some(fact)) if before.is_same_but_for_sessions(fact) => Some(changed_sessions(before, fact)),
            _ => None,
        };
        if let Some(since) = since {
            self.since_at_least(name, since.min(now));
        }
        if let Some(fact) = &fact {
            self.session_lines(name, fact);
        }
        if put(&mut self.runtimes, name, fact) {
            match news {
                // Counts go up all the time, and concern nobody else.
                Some(sessions) => self.sessions_are_dirty(&sessions),
                None => self.everything_is_dirty(),
            }
        }
        acted_upon
    }

    fn since_at_least(&mut self, node: &str, since: Timestamp) {
        let known = self.since.entry(node.to_owned()).or_insert(since);
        *known = since.max(*known);
    }

    /// Why the API server refused an agent's pod at `at`; old news where a pod was made, or refused, after that.
    pub(crate) fn pods_refused(&mut self, why: PodsRefused, at: Timestamp) {
        let made_since = self.agents.values().any(|agent| agent.since.is_some_and(|since| since >= at));
        let refused_since = self.pods_refused.as_ref().is_some_and(|(_, last)| *last > at);
        if made_since || refused_since {
            return;
        }
        let known = self.pods_refused.replace((why.clone(), at));
        if known.is_none_or(|(known, _)| known != why) {
            self.everything_is_dirty();
        }
    }

    pub(crate) fn report(&mut self, report: Report) {
        match report {
            Report::Asked(asked) => self.ask(*asked),
            Report::Fleet { fleet, template, profiles, rollout } => {
                let standing = (self.fleet.as_ref(), &self.template, &self.profiles, &self.rollout);
                if standing != (Some(&fleet), &template, &profiles, &rollout) {
                    (self.fleet, self.template) = (Some(fleet), template);
                    (self.profiles, self.rollout) = (profiles, rollout);
                    self.everything_is_dirty();
                }
            }
            Report::Trouble { key, generation, reason, message } => {
                if let Some(entry) = self.asked.get_mut(&key) {
                    entry.asked.source.generation = generation;
                    entry.trouble = Some((reason, message));
                    self.dirty.insert(key);
                }
            }
            Report::Leaving(key) => _ = self.asked.remove(&key),
            Report::Known(keys) => {
                self.asked.retain(|key, _| keys.contains(key));
                if !self.asked.keys().any(|key| key.kind == SourceKind::ObservabilityStack) {
                    self.fleet = None;
                }
            }
        }
    }

    /// Keys to compute anew.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.dirty)
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn uid(&self, key: &Key) -> Option<&str> {
        self.asked.get(key).map(|entry| entry.asked.uid.as_str())
    }

    /// The status as the API server had it when the resource was last looked at.
    pub(crate) fn standing(&self, key: &Key) -> Option<&Written> {
        self.asked.get(key).map(|entry| &entry.asked.standing)
    }

    /// The status of one resource at `now`, transition times taken from `last`; none if nobody asked.
    pub(crate) fn compute(&self, key: &Key, last: &Written, now: Timestamp) -> Option<Computed> {
        let entry = self.asked.get(key)?;
        let asked = &entry.asked;
        if let Wanted::Session(session) = &asked.wanted {
            let as_it_stands = |next| Some(Computed { written: last.clone(), next });
            // What has ended stays as it ended, whatever becomes of its nodes.
            if is_over(last, asked.source.generation) {
                return as_it_stands(None);
            }
            // What runs stays as it was said by who was there before, until it is known which nodes count.
            if self.fleet.is_none() && last.started_at.is_some() && now < session.expires_at {
                return as_it_stands(Some(session.expires_at));
            }
        }
        let (mut tally, selected) = self.count(entry, now);
        let session = self.session(entry, &mut tally, now);
        let failures = tally.failures();
        let case = Case {
            asked,
            tally: &tally,
            failures: &failures,
            rollout: &self.rollout,
            selected,
            namespace: &self.namespace,
            session,
            trouble: entry.trouble.as_ref().map(|(reason, why)| (*reason, why.as_str())),
        };
        let counted = asked.wanted != Wanted::Nothing;
        let common = ResourceStatus {
            conditions: merge(&last.common.conditions, &findings(&case), asked.source.generation, now),
            nodes: counted.then(|| tally.counts.clone()),
            observed_generation: asked.source.generation,
            ready_nodes: counted.then(|| words::ready_nodes(&tally.counts)),
            summary: Some(summary(&case, &tally.counts)),
            failures: failures.clone(),
        };
        let times = match &asked.wanted {
            Wanted::Session(SessionAsked { started_at, expires_at, .. }) => (Some(*started_at), Some(*expires_at)),
            _ => (last.started_at, last.expires_at),
        };
        let results = (asked.source.kind == SourceKind::AppProfile && session.nodes > 0)
            .then_some(ProfileResults { lost: session.lost, nodes: session.nodes, samples: session.records })
            .or_else(|| last.results.clone());
        let written = Written { common, started_at: times.0, expires_at: times.1, results };
        Some(Computed { written, next: tally.next })
    }

    fn ask(&mut self, asked: Asked) {
        let key = Key::from(&asked.source);
        self.dirty.insert(key.clone());
        match self.asked.get_mut(&key) {
            Some(entry) if entry.asked.uid == asked.uid => {
                (entry.asked, entry.trouble) = (asked, None);
            }
            _ => {
                self.asked.insert(key.clone(), Entry { asked, lines: BTreeMap::new(), trouble: None });
            }
        }
        self.gather_lines(&key);
    }

    /// What nodes already say about a session that was just made known.
    fn gather_lines(&mut self, key: &Key) {
        let Some(entry) = self.asked.get_mut(key) else { return };
        let Wanted::Session(session) = &entry.asked.wanted else { return };
        for (node, runtime) in &self.runtimes {
            if let Some(line) = runtime.sessions.iter().find(|line| runtime.speaks_of(line, session)) {
                entry.lines.insert(node.clone(), line.clone());
            }
        }
    }

    fn session_lines(&mut self, node: &str, fact: &RuntimeFact) {
        for entry in self.asked.values_mut().filter(|_| !fact.sessions.is_empty()) {
            let Wanted::Session(session) = &entry.asked.wanted else { continue };
            if let Some(line) = fact.sessions.iter().find(|line| fact.speaks_of(line, session)) {
                entry.lines.insert(node.to_owned(), line.clone());
            }
        }
    }

    /// The tally, and how many nodes are the stack's; none while that is not known.
    fn count(&self, entry: &Entry, now: Timestamp) -> (Tally, Option<usize>) {
        let (mut tally, mut selected) = (Tally::default(), 0);
        let asked = &entry.asked;
        let Some(fleet) = self.fleet.as_ref().filter(|_| asked.wanted != Wanted::Nothing) else { return (tally, None) };
        let live = self.live(&asked.wanted);
        let by_node = self
            .by_node
            .get_or_init(|| self.agents.iter().map(|(pod, agent)| (agent.node.clone(), pod.clone())).collect());
        for (name, node) in &self.nodes {
            let told_of_session = match &asked.wanted {
                Wanted::Session(session) => session.nodes.as_ref().is_some_and(|nodes| nodes.contains(name)),
                _ => true,
            };
            let agent = by_node.get(name).and_then(|pod| self.agents.get(pod));
            if !told_of_session || !fleet.selects(&node.labels, &node.taints, agent.is_some()) {
                continue;
            }
            selected += 1;
            let view = self.view(name, node, agent, entry, fleet, now);
            let standing = standing(&view, asked, &live, self.patience, now);
            let grace_ends = grace_ends(node, fleet, self.patience);
            let young = grace_ends.filter(|end| now < *end && standing != Standing::Ready);
            if node.deleting || young.is_some() {
                tally.wake(young);
                tally.excluded();
                continue;
            }
            let kernel = view.runtime.map(|runtime| runtime.kernel.as_str()).filter(|kernel| !kernel.is_empty());
            tally.count(name, kernel.unwrap_or(&node.kernel), standing);
        }
        (tally, Some(selected))
    }

    fn view<'a>(
        &'a self,
        name: &'a str,
        node: &NodeFact,
        agent: Option<&'a AgentFact>,
        entry: &'a Entry,
        fleet: &Fleet,
        now: Timestamp,
    ) -> NodeView<'a> {
        let times = [node.created, fleet.since, self.since.get(name).copied()];
        NodeView {
            name,
            agent,
            silent: node.silent,
            since: times.into_iter().flatten().max().unwrap_or(now),
            runtime: self.runtimes.get(name),
            session: entry.lines.get(name),
            namespace: &self.namespace,
            template: self.template.as_deref(),
            pods_refused: self.pods_refused.as_ref().map(|(why, _)| why),
        }
    }

    /// Digests of the profiles with which the wanted thing is in force.
    fn live(&self, wanted: &Wanted) -> BTreeSet<String> {
        match wanted {
            Wanted::Part { profile, digest } => {
                let holding = self.profiles.iter().filter(|(_, parts)| parts.contains(digest));
                holding.map(|(profile, _)| profile.clone()).chain([profile.digest.clone()]).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    fn session(&self, entry: &Entry, tally: &mut Tally, now: Timestamp) -> SessionTally {
        let Wanted::Session(session) = &entry.asked.wanted else { return SessionTally::default() };
        let lines = entry.lines.values();
        let ended = |line: &SessionStatus| line.state != SessionState::Running;
        let told = session.nodes.iter().flatten();
        let all_ended = told.clone().all(|node| entry.lines.get(node).is_some_and(ended));
        let any_completed = lines.clone().any(|line| line.state == SessionState::Completed);
        let last_words = session.expires_at.checked_add(LAST_WORDS).unwrap_or(Timestamp::MAX);
        let over = match () {
            () if now >= session.expires_at && (all_ended || now >= last_words) => Some(Over::Time),
            () if now < session.expires_at && all_ended && any_completed && told.count() > 0 => Some(Over::Limit),
            () => None,
        };
        if over.is_none() {
            tally.wake(Some(if now < session.expires_at { session.expires_at } else { last_words }));
        }
        SessionTally {
            records: lines.clone().map(|line| line.records).sum(),
            lost: lines.clone().map(|line| line.lost).sum(),
            nodes: i32::try_from(lines.filter(|line| made_something(line)).count()).unwrap_or(i32::MAX),
            over,
        }
    }

    fn everything_is_dirty(&mut self) {
        self.dirty.extend(self.asked.keys().cloned());
    }

    fn sessions_are_dirty(&mut self, names: &BTreeSet<String>) {
        let concerned = self.asked.iter().filter(|(_, entry)| match &entry.asked.wanted {
            Wanted::Session(session) => names.contains(&session.name),
            _ => false,
        });
        self.dirty.extend(concerned.map(|(key, _)| key.clone()));
    }
}

/// Whether the status says that the session of this generation has come to its end.
fn is_over(written: &Written, generation: i64) -> bool {
    let completed = find(&written.common.conditions, ConditionType::Completed);
    written.common.observed_generation == generation
        && completed.is_some_and(|completed| completed.status == ConditionStatus::True)
}

/// Names of the sessions about which a node says something else now.
fn changed_sessions(before: &RuntimeFact, now: &RuntimeFact) -> BTreeSet<String> {
    let unlike = |lines: &[SessionStatus], others: &[SessionStatus]| {
        lines.iter().filter(|line| !others.contains(line)).map(|line| line.name.clone()).collect::<Vec<_>>()
    };
    unlike(&before.sessions, &now.sessions).into_iter().chain(unlike(&now.sessions, &before.sessions)).collect()
}

/// Whether a node has a result of the session.
fn made_something(line: &SessionStatus) -> bool {
    matches!(line.state, SessionState::Running | SessionState::Completed)
}

/// When a node that joined after the stack is counted though it is not ready.
fn grace_ends(node: &NodeFact, fleet: &Fleet, patience: Patience) -> Option<Timestamp> {
    let created = node.created.filter(|created| fleet.since.is_some_and(|since| *created > since))?;
    created.checked_add(patience.node).ok()
}

/// Whether anything changed.
fn put<T: PartialEq>(map: &mut BTreeMap<String, T>, name: &str, value: Option<T>) -> bool {
    match value {
        Some(value) if map.get(name) == Some(&value) => false,
        Some(value) => {
            map.insert(name.to_owned(), value);
            true
        }
        None => map.remove(name).is_some(),
    }
}
