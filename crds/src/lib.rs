//! The resource types of `trilobite.dev/v1alpha1`, and the pure planner that turns them into a node's desired state.
//! No client, no clock, no runtime: the operator and the agent both call this and must agree.

pub mod node;

/// The API group of every kind in this crate.
pub const GROUP: &str = "trilobite.dev";
/// The only served version.
pub const VERSION: &str = "v1alpha1";
