//! A real Kubernetes cluster on this machine, for tests: the parts of the `trilobite-cluster` program that tests call.
//! Not for production, and nothing here is linked into the operator or the agent.

mod addresses;
pub mod build;
mod cache;
mod certificates;
mod cgroups;
mod cluster;
pub mod command;
mod control_plane;
mod cpio;
mod daemon;
mod down;
mod error;
mod files;
mod guest;
mod host;
mod image;
mod iptables;
mod network;
mod node;
mod node_config;
mod ports;
mod progress;
mod state;
mod temporary;
mod up;

pub use cache::{Cache, store_folder, workspace_root};
pub use cluster::{Cluster, default_folder};
pub use cpio::Cpio;
pub use error::{Error, Result};
pub use image::{Content, Image};
pub use temporary::ControlPlane;
