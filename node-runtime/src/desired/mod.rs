//! Where the desired state comes from. Every way in gives the same value.

pub mod cluster;
pub mod files;
pub mod last_good;

use std::sync::Arc;

use trilobite_crds::node::Desired;

/// A desired state, and the generation of the NodeRuntime that it came with (0 where there is none).
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// What to keep in force.
    pub desired: Arc<Desired>,
    /// `metadata.generation` of the NodeRuntime.
    pub generation: i64,
}
