//! The truth, in one place: what is in force, what is not and why, what was lost, what it costs.

pub mod ledger;
pub mod problem;

pub use ledger::{Ledger, Place};
pub use problem::Problem;
