//! The three layers. Each decodes its own records, keeps its own state, and brings what is in force in line with what
//! is wanted, unit by unit: one that cannot be had changes nothing for the others.

mod all;
pub mod application;
pub mod network;
pub mod security;

use std::{path::PathBuf, sync::Arc};

pub use all::Layers;

use trilobite_crds::node::SourceKind;

use crate::{
    kernel::Facts,
    report::{Ledger, Problem},
};

/// What every layer is given.
#[derive(Clone)]
pub struct Context {
    /// Name of the node, as events carry it.
    pub node_name: String,
    /// What was found at start.
    pub facts: Arc<Facts>,
    /// Where losses are entered.
    pub ledger: Ledger,
    /// Where the agent may keep files: rotated exports, results, the last good state.
    pub state_dir: PathBuf,
}

/// Names a unit: a part by `Source` and digest, a session by its name and start. A new digest is a new unit, which is
/// attached before the old one leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitKey {
    /// Kind of the resource that asked.
    pub kind: SourceKind,
    /// `name` or `namespace/name` of it.
    pub name: String,
    /// Digest of the part, or the expiry of the session: what tells two versions apart.
    pub version: String,
}

/// How one unit fares after `apply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// Loaded, attached, counting. `note` says what is not perfect, as a hostNetwork pod among the selected.
    InForce {
        /// Problems that do not keep the unit from being in force.
        notes: Vec<Problem>,
    },
    /// Not loaded; whatever was in force before it for the same resource stays.
    Refused(Problem),
}

/// Records of a unit so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCount {
    /// Delivered.
    pub records: u64,
    /// Lost, wherever.
    pub lost: u64,
}
