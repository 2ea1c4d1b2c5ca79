//! Where the desired state comes from. Every way in gives the same value.

pub mod cluster;
mod fetch;
pub mod files;
mod in_force;
pub mod last_good;

pub use in_force::{InForce, in_place_of, may_stand};

use std::sync::Arc;

use trilobite_crds::node::Desired;

use crate::report::Problem;

/// What a node hears about what it has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// This is wanted.
    Wanted(Update),
    /// What this node's object asks for cannot be had. What is in force stays, and this is said of it.
    Unavailable {
        /// `metadata.uid` of the NodeRuntime.
        uid: String,
        /// Why.
        problem: Problem,
    },
    /// Nothing is wanted of this node any more: its object is gone. Nothing may stay in force, nor on its disk.
    Forgotten,
}

/// A desired state, and the generation of the NodeRuntime that it came with (0 where there is none).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// What to keep in force.
    pub desired: Arc<Desired>,
    /// `metadata.generation` of the NodeRuntime.
    pub generation: i64,
    /// `metadata.uid` of the NodeRuntime; none where there is none, or it was not asked for yet.
    pub uid: Option<String>,
}
