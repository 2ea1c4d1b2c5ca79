//! The agent on each node, as rooms. `main` chooses a way in; what flows between the rooms is:
//! `desired` -> `plan` -> `layers` (which load through `kernel` and ask `identity` who someone is) -> `serve` and `report`.

pub mod args;
pub mod desired;
pub mod export;
pub mod identity;
#[allow(unsafe_code)]
pub mod kernel;
pub mod layers;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod serve;
pub mod ways_in;
pub mod worker;
