//! Sources of the desired state: the API server, files, and the last-known-good state on disk.

mod active;
pub mod cluster;
mod fetch;
pub mod files;
pub mod last_known_good;

pub use active::{ActiveState, keeps_previous_version, unit_name};

use std::sync::Arc;

use trilobite_crds::node::Desired;

use crate::problem::Problem;

/// A change of the desired state, as a source reports it.
#[derive(Clone, Debug, PartialEq)]
pub enum DesiredUpdate {
    /// There is a new desired state.
    Changed(Update),
    /// The profile of this node's NodeRuntime could not be fetched. The active state stays, and the status says why.
    Unavailable {
        /// `metadata.uid` of the NodeRuntime.
        uid: String,
        /// Why.
        problem: Problem,
    },
    /// The operator has set the condition Ready of the NodeRuntime to Unknown, because it took this agent for silent.
    StatusOverwritten,
    /// The NodeRuntime is gone. Everything is unloaded and the disk is cleared.
    Removed,
}

/// A desired state, and the generation of the NodeRuntime that it came with (0 where there is none).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    pub desired: Arc<Desired>,
    /// `metadata.generation` of the NodeRuntime.
    pub generation: i64,
    /// `metadata.uid` of the NodeRuntime; none without a cluster, and before the first answer of the API server.
    pub uid: Option<String>,
}
