//! Requests: one capture in the kernel for all sessions, a worker for each, and their rows.

mod driver;
pub(super) mod layer;
pub mod programs;
mod queries;
pub mod recording;
pub mod replay;
pub mod rows;
mod session;
mod slot;
mod spec;
mod totals;

pub(super) use slot::SharedCapture;
