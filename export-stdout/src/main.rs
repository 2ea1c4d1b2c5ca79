//! `trilobite-export-stdout FIFO`: prints the event lines that the agent writes to the FIFO, and nothing else, so that
//! `kubectl logs -c export-stdout` is readable by programs. What goes wrong is its termination message.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use trilobite_export_stdout::LineBuffer;
use trilobite_program_memory::release_unused_code;

/// How often it is looked whether the agent has created the FIFO.
const FIFO_INTERVAL: u16 = 500;
/// How long the last events of an agent that is ending too are waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The kubelet's file for the reason of an end.
const TERMINATION_MESSAGE: &str = "/dev/termination-log";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(path), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        eprintln!("usage: trilobite-export-stdout FIFO");
        return ExitCode::from(2);
    };
    match print_events(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = format!("{}: {error}", path.display());
            if !Path::new(TERMINATION_MESSAGE).exists() || fs::write(TERMINATION_MESSAGE, &message).is_err() {
                eprintln!("{message}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Returns after SIGTERM or SIGINT, when the agent has ended as well.
fn print_events(path: &Path) -> io::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)?;
    while !is_fifo(path)? {
        let mut ready = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if wait(&mut ready, PollTimeout::from(FIFO_INTERVAL))? {
            return Ok(());
        }
    }
    // Open for writing as well, so that it does not end while the agent restarts.
    let mut fifo = OpenOptions::new().read(true).write(true).open(path)?;
    // Unbuffered: the standard handle writes line by line.
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut lines = LineBuffer::default();
    release_unused_code();
    loop {
        let interest = PollFlags::POLLIN;
        let mut ready = [PollFd::new(fifo.as_fd(), interest), PollFd::new(signals.as_fd(), interest)];
        wait(&mut ready, PollTimeout::NONE)?;
        let [readable, ended] = ready.map(|one| one.any() == Some(true));
        if ended {
            break;
        }
        if readable {
            lines.copy_lines(&mut fifo, &mut out)?;
        }
    }
    // Without a writer of our own the FIFO ends with the agent.
    let mut rest = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    drop(fifo);
    let end = Instant::now() + DRAIN_TIMEOUT;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut ready = [PollFd::new(rest.as_fd(), PollFlags::POLLIN)];
        if !wait(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO))? {
            return Ok(());
        }
        match lines.copy_lines(&mut rest, &mut out) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}

/// Whether one of them is ready; false after the timeout.
fn wait(ready: &mut [PollFd<'_>], timeout: PollTimeout) -> io::Result<bool> {
    loop {
        match poll(ready, timeout) {
            Err(Errno::EINTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

fn is_fifo(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_fifo() => Ok(true),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no FIFO")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
