//! Decisions by what they depend on. Pure.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use trilobite_netpol::{Decision, Protocol};

/// Decisions that are kept, some 400 bytes each. Beyond them all are forgotten: they are made again in microseconds.
pub(super) const DECISIONS_MAX: usize = 4096;

/// What a decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DecisionKey {
    pub(super) client: EndKey,
    pub(super) server: EndKey,
    /// None where no policy is about addresses.
    pub(super) addresses: Option<(IpAddr, IpAddr)>,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// An end of a connection as policies tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EndKey {
    /// The number of the pod's class.
    Pod(u32),
    /// The number of the node.
    Node(u32),
    External,
}

#[derive(Debug, Default)]
pub(super) struct DecisionCache {
    decisions: HashMap<DecisionKey, Arc<Decision>>,
    /// What most connections of a cluster with few policies get.
    nothing_decided: Arc<Decision>,
}

impl DecisionCache {
    pub(super) fn get_or_decide(&mut self, key: DecisionKey, decide: impl FnOnce() -> Decision) -> Arc<Decision> {
        if let Some(known) = self.decisions.get(&key) {
            return Arc::clone(known);
        }
        let decision = decide();
        let decision =
            if decision == *self.nothing_decided { Arc::clone(&self.nothing_decided) } else { Arc::new(decision) };
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.clear();
        }
        self.decisions.insert(key, Arc::clone(&decision));
        decision
    }

    /// Policies, or what they select by, have changed.
    pub(super) fn clear(&mut self) {
        self.decisions.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.decisions.len()
    }
}
