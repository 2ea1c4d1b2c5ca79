//! Every record that was lost: where, for which resource, and how many. A ground room: it imports nothing of the agent.

pub mod by_source;
pub mod gap;
pub mod ledger;

use trilobite_crds::{
    STACK_NAME,
    node::{Source, SourceKind},
};

pub use ledger::{Ledger, Loss, LossPoint};

/// The stack as the source of losses and problems of the whole node, where its generation is not known.
pub fn stack_source() -> Source {
    Source { kind: SourceKind::ObservabilityStack, namespace: None, name: STACK_NAME.into(), generation: 0 }
}
