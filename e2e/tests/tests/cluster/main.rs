//! Tests on a real cluster of two nodes: `scripts/with-cluster.sh` starts it. They share one installed product, and run one
//! after the other.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bad_input;
mod clients;
mod command_line;
mod completeness;
mod flow_names;
mod isolation;
mod on_demand;
mod process_events;
mod robustness;
mod truth;
