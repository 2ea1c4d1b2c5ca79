//! Where the desired state comes from. Every way in gives the same value.

pub mod cluster;
pub mod files;
pub mod last_good;

use std::sync::Arc;

use trilobite_crds::node::Desired;

/// What a node hears about what it has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// This is wanted.
    Wanted(Update),
    /// Nothing is wanted of this node any more: its object is gone. Nothing may stay in force, nor on its disk.
    Forgotten,
}

/// A desired state, and the generation of the NodeRuntime that it came with (0 where there is none).
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// What to keep in force.
    pub desired: Arc<Desired>,
    /// `metadata.generation` of the NodeRuntime.
    pub generation: i64,
}
