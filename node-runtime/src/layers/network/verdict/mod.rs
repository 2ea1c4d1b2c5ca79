//! What the network policies of the cluster say about a connection: the index of what they select by, the decisions that were
//! made, the watches that fill the index, and what of it is joined to flows.

mod decision_cache;
mod evaluator;
mod index;
mod pod_classes;
mod watch;

#[cfg(test)]
mod tests;

pub use evaluator::{Disagreements, PolicyEvaluator};
pub use index::{AskedConnection, ConnectionEndId, PolicyIndex, PolicyPod};
pub use watch::PolicyWatch;
