//! Cgroups of this node: the tree, what a path says about pod and container, and the kernel's map of selected cgroups.

pub(super) mod filesystem;
pub(super) mod kernel_map;
mod location;
mod map_writer;
mod tree;

pub(super) use location::CgroupLocation;
pub(super) use map_writer::CgroupMapWriter;
pub(super) use tree::CgroupTree;
