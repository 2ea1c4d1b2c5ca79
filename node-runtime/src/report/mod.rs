//! The truth, in one place: what is in force, what is not and why, what was lost, what it costs.

pub mod gap;
pub mod ledger;
pub mod metrics;
pub mod problem;
pub mod status;
pub mod writer;

pub use ledger::{Ledger, Place};
pub use problem::Problem;
