//! The worker's binary, opened once when the agent starts, and then started by its descriptor, whatever becomes of its path.

use std::{
    env, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::problem::Problem;

/// Name of the binary, and of its processes.
const NAME: &str = "trilobite-worker";

/// The opened binary.
#[derive(Clone, Debug)]
pub struct WorkerProgram(Arc<OwnedFd>);

impl WorkerProgram {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)))
    }

    /// As `open`, with the problem that refuses what needs a worker.
    pub fn find(path: &Path) -> Result<Self, Problem> {
        Self::open(path).map_err(|error| {
            tracing::warn!(path = %path.display(), %error, "the worker's binary is missing: AppProfiles are refused, DNS is not read");
            let detail = format!("{}: {error}; it belongs beside the agent's binary", path.display());
            Problem::LoadFailed { what: "starting the worker".into(), detail }
        })
    }

    /// A command that starts the binary.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        command.arg0(NAME);
        command
    }
}

/// Beside the agent's own binary, as in its image and in a build folder.
pub fn default_path() -> PathBuf {
    env::current_exe().unwrap_or_default().with_file_name(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_starts_although_its_file_was_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("true");
        std::fs::copy("/bin/true", &path).unwrap();
        let program = WorkerProgram::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(program.command().status().unwrap().success());
    }

    #[test]
    fn missing_program_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let error = WorkerProgram::open(&folder.path().join(NAME)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
