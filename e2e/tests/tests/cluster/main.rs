//! Tests on a real cluster of two nodes: `scripts/with-cluster.sh` starts it. They share one installed product, and run one
//! after the other.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bad_input;
mod clients;
mod completeness;
mod isolation;
mod on_demand;
mod robustness;
mod truth;
