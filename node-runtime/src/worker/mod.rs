//! The process without privilege, for bytes that strangers wrote: it reads a ring of samples and the ELF files of pods,
//! and makes folded stacks and a flame graph of them. The agent starts one with each profile; its death gives its memory back.
//!
//! The worker reads the ring itself, by the descriptor: the agent would have to copy every stack through the socket
//! (50 KB/s a busy processor at 49 Hz), and a reader of the ring needs no privilege once it has the map's descriptor.

pub mod channel;
mod confine;
mod flame;
mod fold;
pub mod frame;
mod kallsyms;
mod processes;
mod profile;
mod roots;
mod sample;
mod stacks;
mod symbols;

use std::{io, os::fd::AsFd, process::ExitCode};

use channel::{receive, send};
use frame::{ToAgent, ToWorker};

/// Runs a worker: standard input is the agent's socket. Returns when the profile is made or the agent is gone.
pub fn run() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let last = ToAgent::Failed(error.to_string());
            if let Ok(bytes) = last.encode() {
                // The agent may be gone as well; then nobody is left to be told.
                let _ = send(io::stdin().as_fd(), &bytes, &[], true);
            }
            ExitCode::FAILURE
        }
    }
}

fn work() -> io::Result<()> {
    confine::drop_privileges()?;
    let socket = io::stdin();
    let mut buffer = Vec::new();
    let first = receive(&socket, &mut buffer, true)?;
    let start = ToWorker::parse(&first.bytes).map_err(io::Error::other)?;
    let ToWorker::Start { ring_bytes, memory_bytes, kallsyms } = start else {
        return Err(io::Error::other("the agent began with something else"));
    };
    confine::limit(memory_bytes)?;
    let mut fds = first.fds.into_iter();
    let ring = fds.next().ok_or_else(|| io::Error::other("no ring came with the start"))?;
    let kallsyms = if kallsyms { fds.next() } else { None };
    confine::filter(confine::Phase::Collect)?;
    profile::Profile::new(socket.as_fd(), ring, ring_bytes as usize, kallsyms, memory_bytes)?.run()
}
