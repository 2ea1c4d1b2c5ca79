//! Runs one program of the machine to its end and says, when it fails, which one, how, and which Debian package has it.

use std::{
    ffi::OsStr,
    io,
    process::{Command, ExitStatus, Output},
};

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("{program} is not on this machine: install the Debian package {package}")]
    Missing { program: String, package: &'static str },
    #[error("start {program}: {error}")]
    Start { program: String, error: io::Error },
    #[error("{command} ended with {status}:\n{stderr}")]
    Failed { command: String, status: ExitStatus, stderr: String },
}

/// The Debian package that a program comes from.
fn package(program: &str) -> &'static str {
    match program {
        "apt-get" | "apt-cache" | "apt-config" => "apt",
        "dpkg-deb" => "dpkg",
        "xz" => "xz-utils",
        "zstd" => "zstd",
        "setpriv" => "util-linux",
        _ => "qemu-system-x86",
    }
}

/// An error of starting `command`, in words that lead on.
pub(crate) fn not_started(command: &Command, error: io::Error) -> ProgramError {
    let program = command.get_program().to_string_lossy().into_owned();
    match error.kind() {
        io::ErrorKind::NotFound => ProgramError::Missing { package: package(&program), program },
        _ => ProgramError::Start { program, error },
    }
}

/// Standard output of `command`, which must succeed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, ProgramError> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| not_started(command, error))?;
    if status.success() {
        return Ok(stdout);
    }
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    Err(ProgramError::Failed {
        command: words.join(" "),
        status,
        stderr: String::from_utf8_lossy(&stderr).trim_end().to_owned(),
    })
}
