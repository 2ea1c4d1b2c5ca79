//! `Index`: nodes, agents, NodeRuntimes, and what every user resource requests. Pure: no clock, no client, no lock.
//! Events go in, the keys whose status may change come out, and a status is computed for a key and a time.

mod compute;
mod foreign;
#[cfg(test)]
mod relay_tests;
#[cfg(test)]
mod rollout_tests;
#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod selection_tests;
#[cfg(test)]
mod session_tests;
mod silent;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;
use trilobite_crds::{
    Reason,
    node::{SessionStatus, SourceKind},
};

use super::{
    controller_report::{ControllerReport, Requested, Rollout, StatusInput},
    facts::{AgentFact, NodeFact, PodsRefused, RuntimeFact, digest_prefix},
    node_state::GracePeriods,
    relay::RelayState,
    silent_agents::SilentAgent,
    user_status::UserStatus,
};
use crate::{resource_key::ResourceKey, stack_nodes::NodeSelection};

#[derive(Debug)]
struct Entry {
    input: StatusInput,
    /// The last status of the requested session, by node.
    session_statuses: BTreeMap<String, SessionStatus>,
    reconcile_error: Option<(Reason, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ComputedStatus {
    pub(crate) status: UserStatus,
    /// When to compute it again although nothing changes.
    pub(crate) recompute_at: Option<Timestamp>,
    /// Of the stack: agents that are silent, and whose NodeRuntime does not say so yet.
    pub(crate) silent_agents: Vec<SilentAgent>,
}

#[derive(Debug)]
pub(crate) struct Index {
    grace: GracePeriods,
    /// Namespace of the agents' pods, for the commands in messages.
    namespace: String,
    nodes: BTreeMap<String, NodeFact>,
    /// By the name of the pod.
    agents: BTreeMap<String, AgentFact>,
    /// Name of the pod by node; computed on demand, cleared when an agent changes.
    pod_by_node: OnceCell<BTreeMap<String, String>>,
    runtimes: BTreeMap<String, RuntimeFact>,
    /// By node: when its agent went missing, or when its NodeRuntime last changed.
    since: BTreeMap<String, Timestamp>,
    selection: Option<NodeSelection>,
    /// Digest of the agents' current pod template.
    template: Option<String>,
    /// Digests of the parts in each profile, by the digest of the profile.
    profiles: BTreeMap<String, BTreeSet<String>>,
    /// The latest generation of the stack for which a profile was planned, by the digest of the profile.
    planned_for: BTreeMap<String, i64>,
    rollout: Rollout,
    relay: Option<RelayState>,
    /// Why agents' pods are refused, and when that was reported.
    pods_refused: Option<(PodsRefused, Timestamp)>,
    entries: BTreeMap<ResourceKey, Entry>,
    dirty: BTreeSet<ResourceKey>,
}

impl Index {
    pub(crate) fn new(grace: GracePeriods, namespace: impl Into<String>) -> Self {
        Self {
            grace,
            namespace: namespace.into(),
            nodes: BTreeMap::new(),
            agents: BTreeMap::new(),
            pod_by_node: OnceCell::new(),
            runtimes: BTreeMap::new(),
            since: BTreeMap::new(),
            selection: None,
            template: None,
            profiles: BTreeMap::new(),
            planned_for: BTreeMap::new(),
            rollout: Rollout::Progressing,
            relay: None,
            pods_refused: None,
            entries: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Sets or deletes a node; returns whether a fact changed.
    pub(crate) fn set_node(&mut self, name: &str, fact: Option<NodeFact>) -> bool {
        let changed = insert_or_remove(&mut self.nodes, name, fact);
        if changed {
            self.mark_all_dirty();
        }
        changed
    }

    pub(crate) fn set_agent(&mut self, pod: &str, fact: Option<AgentFact>, now: Timestamp) {
        let known = self.agents.get(pod);
        let node = fact.as_ref().or(known).map(|agent| agent.node.clone());
        // After a restart of the operator, the grace period starts with the pod's own transition, not with its first
        // sight.
        let since = fact.as_ref().filter(|_| known.is_none()).and_then(|agent| agent.since).unwrap_or(now);
        // A pod that exists shows that pods are no longer refused.
        self.pods_refused = self.pods_refused.take().filter(|_| fact.is_none());
        if insert_or_remove(&mut self.agents, pod, fact) {
            self.pod_by_node.take();
            if let Some(node) = node {
                self.restart_grace(&node, since.min(now));
            }
            self.mark_all_dirty();
        }
    }

    /// Sets or deletes a NodeRuntime; returns whether a field changed that controllers reconcile on.
    pub(crate) fn set_runtime(&mut self, name: &str, fact: Option<RuntimeFact>, now: Timestamp) -> bool {
        let before = self.runtimes.get(name);
        let reconciled_changed =
            before.map(RuntimeFact::reconciled_fields) != fact.as_ref().map(RuntimeFact::reconciled_fields);
        let since = match (before, &fact) {
            (Some(before), Some(fact)) => restarts_grace(before, fact).then_some(now),
            (None, Some(fact)) => Some(fact.spec_written_at.unwrap_or(now)),
            (_, None) => Some(now),
        };
        let only_counts_changed = match (before, &fact) {
            (Some(before), Some(fact)) if before.equals_except_counts(fact) => {
                Some((changed_sessions(before, fact), changed_parts(before, fact)))
            }
            _ => None,
        };
        if let Some(since) = since {
            self.restart_grace(name, since.min(now));
        }
        if let Some(fact) = &fact {
            self.record_session_statuses(name, fact);
        }
        if insert_or_remove(&mut self.runtimes, name, fact) {
            match only_counts_changed {
                // Counts of records and pods change all the time, and other resources do not depend on them.
                Some((sessions, parts)) => self.mark_counted_dirty(&sessions, &parts),
                None => self.mark_all_dirty(),
            }
        }
        reconciled_changed
    }

    fn restart_grace(&mut self, node: &str, since: Timestamp) {
        let known = self.since.entry(node.to_owned()).or_insert(since);
        *known = since.max(*known);
    }

    /// The API server refused an agent's pod at `at`. Ignored if a pod was created, or refused, after that.
    pub(crate) fn set_pods_refused(&mut self, why: PodsRefused, at: Timestamp) {
        let created_since = self.agents.values().any(|agent| agent.since.is_some_and(|since| since >= at));
        let refused_since = self.pods_refused.as_ref().is_some_and(|(_, last)| *last > at);
        if created_since || refused_since {
            return;
        }
        let known = self.pods_refused.replace((why.clone(), at));
        if known.is_none_or(|(known, _)| known != why) {
            self.mark_all_dirty();
        }
    }

    pub(crate) fn apply_report(&mut self, report: ControllerReport) {
        match report {
            ControllerReport::Resource(input) => self.set_input(*input),
            ControllerReport::Planned { generation, profile, parts } => {
                self.profiles.insert(profile.clone(), parts);
                self.planned_for.insert(profile, generation);
            }
            ControllerReport::Stack { selection, template, profiles, rollout } => {
                self.planned_for.retain(|profile, _| profiles.contains_key(profile));
                let known = (self.selection.as_ref(), &self.template, &self.profiles, &self.rollout);
                if known != (Some(&selection), &template, &profiles, &rollout) {
                    (self.selection, self.template) = (Some(selection), template);
                    (self.profiles, self.rollout) = (profiles, rollout);
                    self.mark_all_dirty();
                }
            }
            ControllerReport::Relay(relay) => {
                if self.relay.as_ref() != Some(&relay) {
                    self.relay = Some(relay);
                    let stacks = self.entries.keys().filter(|key| key.kind == SourceKind::ObservabilityStack);
                    self.dirty.extend(stacks.cloned());
                }
            }
            ControllerReport::StatusRead { key, uid, status } => {
                if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.input.uid == uid) {
                    entry.input.current_status = *status;
                    self.dirty.insert(key);
                }
            }
            ControllerReport::ReconcileFailed { key, generation, reason, message } => {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.input.source.generation = generation;
                    entry.reconcile_error = Some((reason, message));
                    self.dirty.insert(key);
                }
            }
            ControllerReport::Deleting(key) => _ = self.entries.remove(&key),
            ControllerReport::Existing(keys) => {
                self.entries.retain(|key, _| keys.contains(key));
                if !self.entries.keys().any(|key| key.kind == SourceKind::ObservabilityStack) {
                    (self.selection, self.relay) = (None, None);
                    // A new stack counts its generations from 1 again.
                    self.planned_for.clear();
                }
            }
        }
    }

    /// Returns and clears the keys whose status may have changed.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<ResourceKey> {
        let mut dirty = std::mem::take(&mut self.dirty);
        // The stack's status lists them.
        if dirty.iter().any(|key| key.kind.is_foreign()) {
            dirty.extend(self.entries.keys().filter(|key| key.kind == SourceKind::ObservabilityStack).cloned());
        }
        dirty
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn uid(&self, key: &ResourceKey) -> Option<&str> {
        self.entries.get(key).map(|entry| entry.input.uid.as_str())
    }

    /// The status that the API server had when the resource was last reconciled.
    pub(crate) fn current_status(&self, key: &ResourceKey) -> Option<&UserStatus> {
        self.entries.get(key).map(|entry| &entry.input.current_status)
    }

    fn set_input(&mut self, input: StatusInput) {
        let key = ResourceKey::from(&input.source);
        self.dirty.insert(key.clone());
        match self.entries.get_mut(&key) {
            Some(entry) if entry.input.uid == input.uid => {
                (entry.input, entry.reconcile_error) = (input, None);
            }
            _ => {
                let entry = Entry { input, session_statuses: BTreeMap::new(), reconcile_error: None };
                self.entries.insert(key.clone(), entry);
            }
        }
        self.collect_session_statuses(&key);
    }

    /// Collects what nodes already report about a session that is new to the index.
    fn collect_session_statuses(&mut self, key: &ResourceKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Requested::Session(session) = &entry.input.requested else { return };
        for (node, runtime) in &self.runtimes {
            if let Some(status) = runtime.sessions.iter().find(|status| runtime.is_status_of(status, session)) {
                entry.session_statuses.insert(node.clone(), status.clone());
            }
        }
    }

    fn record_session_statuses(&mut self, node: &str, fact: &RuntimeFact) {
        for entry in self.entries.values_mut().filter(|_| !fact.sessions.is_empty()) {
            let Requested::Session(session) = &entry.input.requested else { continue };
            if let Some(status) = fact.sessions.iter().find(|status| fact.is_status_of(status, session)) {
                entry.session_statuses.insert(node.to_owned(), status.clone());
            }
        }
    }

    fn mark_all_dirty(&mut self) {
        self.dirty.extend(self.entries.keys().cloned());
    }

    fn mark_counted_dirty(&mut self, sessions: &BTreeSet<String>, parts: &BTreeSet<String>) {
        let concerned = self.entries.iter().filter(|(_, entry)| match &entry.input.requested {
            Requested::Session(session) => sessions.contains(&session.name),
            Requested::Part { digest, .. } => parts.contains(digest_prefix(digest)),
            Requested::Nothing | Requested::Profile(_) => false,
        });
        self.dirty.extend(concerned.map(|(key, _)| key.clone()));
    }
}

/// Whether the agent has to answer a new change, or has just answered one. Further changes give no more time to an agent
/// that is behind.
fn restarts_grace(before: &RuntimeFact, now: &RuntimeFact) -> bool {
    let had_answered = before.observed_generation == Some(before.generation);
    let has_answered = before.observed_generation != now.observed_generation;
    has_answered || (had_answered && before.generation != now.generation)
}

/// Names of the sessions whose status differs between the two.
fn changed_sessions(before: &RuntimeFact, now: &RuntimeFact) -> BTreeSet<String> {
    let missing_in = |others: &[SessionStatus], statuses: &[SessionStatus]| {
        let missing = statuses.iter().filter(|status| !others.contains(status));
        missing.map(|status| status.name.clone()).collect::<Vec<_>>()
    };
    let old = missing_in(&now.sessions, &before.sessions);
    old.into_iter().chain(missing_in(&before.sessions, &now.sessions)).collect()
}

/// Prefixes of the digests of the policies that select another number of pods now.
fn changed_parts(before: &RuntimeFact, now: &RuntimeFact) -> BTreeSet<String> {
    let differs = |part: &&String| before.pods_selected.get(*part) != now.pods_selected.get(*part);
    before.pods_selected.keys().chain(now.pods_selected.keys()).filter(differs).cloned().collect()
}

/// Returns whether the map changed.
fn insert_or_remove<T: PartialEq>(map: &mut BTreeMap<String, T>, name: &str, value: Option<T>) -> bool {
    match value {
        Some(value) if map.get(name) == Some(&value) => false,
        Some(value) => {
            map.insert(name.to_owned(), value);
            true
        }
        None => map.remove(name).is_some(),
    }
}
