//! The agent on each node. Rooms import downwards only, in this order; rooms on one line do not import each other:
//!
//! `commands` -> `agent` -> `serve`, `export` -> `layers` -> `report` -> `certificate`, `desired` -> `identity`
//! -> `plan` -> `kernel` -> `problem`, `loss`.

pub mod agent;
pub mod args;
pub mod certificate;
pub mod commands;
pub mod desired;
pub mod export;
pub mod identity;
#[allow(unsafe_code)]
pub mod kernel;
pub mod layers;
pub mod loss;
pub mod plan;
pub mod problem;
#[cfg(test)]
mod random;
pub mod report;
pub mod serve;
