//! Every record that was lost: where, for which resource, and how many. The lowest module: it imports nothing else of this crate.

pub mod by_source;
pub mod gap;
pub mod ledger;
mod totals;

use trilobite_crds::{
    STACK_NAME,
    node::{Source, SourceKind},
};

pub use ledger::{Ledger, Loss, LossPoint};
pub use totals::LossTotals;

/// The stack as the source of losses and problems of the whole node, where its generation is not known.
pub fn stack_source() -> Source {
    Source { kind: SourceKind::ObservabilityStack, namespace: None, name: STACK_NAME.into(), generation: 0 }
}
