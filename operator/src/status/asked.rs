//! What the controllers tell the index: what each resource asks for. The only way from a controller to a status.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use trilobite_crds::{
    Refusal,
    node::{ProfileRef, Source},
    reason::Reason,
};

use super::{Key, Written};
use crate::selection::Fleet;

/// One resource, as far as its status goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) source: Source,
    pub(crate) uid: String,
    /// Its status as the API server has it.
    pub(crate) standing: Written,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) suspended: bool,
    pub(crate) wanted: Wanted,
}

/// What has to be in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// Nothing: it was refused, or cannot be planned yet.
    Nothing,
    /// A whole profile: the stack.
    Profile(ProfileRef),
    /// One part, in whichever profile: a policy.
    Part { profile: ProfileRef, digest: String },
    /// A session on some nodes.
    Session(SessionAsked),
}

/// A FlowCapture or an AppProfile that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionAsked {
    pub(crate) name: String,
    pub(crate) started_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Nodes that were told, or should be; none until the pods are known.
    pub(crate) nodes: Option<BTreeSet<String>>,
    /// Those of them that hold as many sessions as they can.
    pub(crate) full: BTreeSet<String>,
    /// The stack's layer leaves this namespace out.
    pub(crate) out_of_scope: bool,
}

/// How the last change goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rollout {
    #[default]
    Moving,
    /// Stopped: so many nodes of those that were told fail.
    Halted { failing: usize, told: usize },
}

/// What a controller says.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    Asked(Box<Asked>),
    /// Which nodes are the stack's, from which template their agents' pods are made, what its live profiles hold (parts by
    /// the digest of the profile), how the change goes.
    Fleet {
        fleet: Fleet,
        template: Option<String>,
        profiles: BTreeMap<String, BTreeSet<String>>,
        rollout: Rollout,
    },
    /// The operator itself failed for this generation of this resource.
    Trouble {
        key: Key,
        generation: i64,
        reason: Reason,
        message: String,
    },
    /// It is on its way out; its status is of no use to anybody.
    Leaving(Key),
    /// These exist, and no others.
    Known(BTreeSet<Key>),
}
