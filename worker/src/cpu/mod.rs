//! CPU profiles: samples from the ring to folded stacks and a flame graph.

mod cgroup_names;
mod fold;
mod frame_names;
mod process;
mod processes;
pub(crate) mod profile;
mod result;
mod sample;
mod stacks;
