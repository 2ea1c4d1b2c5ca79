//! Cgroups of this node: the tree, what a path says about pod and container, and the kernel's maps of cgroups and classes.

pub(super) mod bundle;
pub(super) mod filesystem;
pub(super) mod kernel_map;
mod location;
mod tree;

pub(super) use bundle::BundleName;
pub(super) use location::CgroupLocation;
pub(super) use tree::CgroupTree;
