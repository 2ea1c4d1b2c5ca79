//! The truth, in one place: what is in force, what is not and why, what was lost, what it costs.

mod fit;
pub mod gap;
pub mod health;
pub mod ledger;
pub mod listen;
pub mod losses;
pub mod metrics;
pub mod problem;
pub mod status;
pub mod writer;

use trilobite_crds::{
    STACK_NAME,
    node::{Source, SourceKind},
};

pub use ledger::{Ledger, Place};
pub use problem::Problem;

/// Whose the problems and losses of the whole node are, where the node does not know the stack's generation.
pub fn stack() -> Source {
    Source { kind: SourceKind::ObservabilityStack, namespace: None, name: STACK_NAME.into(), generation: 0 }
}
