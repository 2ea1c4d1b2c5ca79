//! Why a kernel is not in the cache.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::program::ProgramError;

/// Why a kernel is not in the cache.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{doing} {}: {error}", path.display())]
    File { doing: &'static str, path: PathBuf, error: io::Error },
    #[error("the machine's apt sources name no Debian archive to get kernels from")]
    NoMirror,
    #[error("{suite} has no linux-image-cloud-amd64 of {series}")]
    NoSuchKernel { series: &'static str, suite: &'static str },
    #[error("package {0} is named as a dependency, but the archive does not have it")]
    NoSuchPackage(String),
    #[error("no vmlinuz in the packages of {0}")]
    NoImage(&'static str),
    #[error("kernel {series} has no module {module}, neither as a file nor built in")]
    NoModule { series: &'static str, module: String },
}

impl FetchError {
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { doing, path, error }
    }
}
