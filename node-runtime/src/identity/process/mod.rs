//! Processes: what an image is, and the cache of images that fork, exec and exit keep up to date.

mod arguments;
pub mod cache;
mod change;
mod cmdline;
pub(super) mod follow;
mod image;
mod init_tree;
mod known;
pub(super) mod procfs;

pub use arguments::Arguments;
pub use change::{ProcessChange, ProcessListener};
pub(super) use change::{notify_listeners, record_change};
pub use follow::FollowConditions;
pub use image::{Credentials, ExecKey, Located, Process, TRUNC_ARGS, UNKNOWN, UserNamespace};
pub use known::KnownProcesses;
