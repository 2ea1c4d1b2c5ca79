//! The base of the end-to-end tests: the installed product, `kubectl`, the clients people have, and the kernel's objects as root.
//! A failure names what was expected, what was seen, and how long the test waited.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod agents;
pub mod cgroups;
pub mod cilium_kinds;
pub mod clients;
pub mod fixture;
pub mod golden;
pub mod kernel;
pub mod kubectl;
pub mod memory;
pub mod parameters;
pub mod pods;
pub mod port_forward;
pub mod profiles;
pub mod read_api;
pub mod servers;
pub mod users;
pub mod wait;

pub use fixture::Fixture;
pub use kubectl::Kubectl;
pub use wait::eventually;
