//! The three layers. Each decodes its own records, keeps its own state, and applies its units of the plan one by one: a unit
//! that is refused affects no other unit.

mod all;
pub mod application;
pub(crate) mod deadline;
pub mod network;
pub mod security;
pub mod worker;

use std::{path::PathBuf, sync::Arc};

pub use all::Layers;

use crate::{kernel::Facts, loss::Ledger};

/// Handed to every layer at its creation.
#[derive(Clone)]
pub struct LayerContext {
    pub node_name: String,
    pub facts: Arc<Facts>,
    pub ledger: Ledger,
    /// Directory for rotated exports, results and state files.
    pub state_dir: PathBuf,
}
