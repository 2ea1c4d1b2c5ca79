//! CPU profiles: samples from the ring to folded stacks and a flame graph.

mod flame_graph;
mod fold;
mod pending;
mod processes;
pub(crate) mod profile;
mod result;
mod sample;
mod stacks;
