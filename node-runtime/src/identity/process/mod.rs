//! Processes: what an image is, and the cache of images that fork, exec and exit keep up to date.

pub mod cache;
mod change;
mod cmdline;
mod image;
mod init_tree;
mod known;
pub(super) mod procfs;

pub use change::{ProcessChange, ProcessListener};
pub(super) use change::{notify_listeners, record_change};
pub use image::{Credentials, ExecKey, Located, Process, UNKNOWN, UserNamespace};
pub use known::KnownProcesses;
