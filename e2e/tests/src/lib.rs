//! What the end-to-end tests stand on: the installed product, `kubectl`, the clients people have, and a view of the kernel
//! as root. A failure names what was expected, what was seen, and for how long it was waited for.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod agents;
pub mod cgroups;
pub mod clients;
pub mod golden;
pub mod kernel;
pub mod kubectl;
pub mod memory;
pub mod pods;
pub mod profiles;
pub mod stage;
pub mod wait;

pub use kubectl::Kubectl;
pub use stage::Stage;
pub use wait::eventually;
