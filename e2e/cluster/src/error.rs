//! What can go wrong, each with what was being done and to which object.

use std::path::{Path, PathBuf};

/// An error of the test cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: std::io::Error },
    /// A program ended with a failure.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command { command: String, status: std::process::ExitStatus, stderr: String },
    /// Something did not become ready in time.
    #[error("waited {seconds} s in vain for: {what}\n{tail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// The end of the log of the program that was waited for.
        tail: String,
    },
    /// A program that must keep running has ended.
    #[error("{name} ended while it was waited for: {what}\n{tail}")]
    Ended {
        name: String,
        /// What was waited for.
        what: String,
        /// The end of its log.
        tail: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate {name}: {source}")]
    Certificate { name: String, source: rcgen::Error },
    /// A file that the cluster wrote cannot be understood.
    #[error("{} is not what this program writes: {source}", path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    /// Something that must be there first is not.
    #[error("{0}")]
    Missing(String),
    /// A request that cannot be met.
    #[error("{0}")]
    Refused(String),
    /// Something of the cluster is still there after it was taken down.
    #[error("still there after down:\n  {}", .0.join("\n  "))]
    Left(Vec<String>),
}

/// A result of the test cluster.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}
