//! The process without privilege: it reads a ring of samples and the ELF files of pods, and makes folded stacks and a flame graph
//! of them. The agent starts one for each profile, with its socket as standard input; the worker's exit returns its memory.
//!
//! The worker reads the ring itself: otherwise the agent would copy every stack through the socket (50 KB/s for each busy
//! processor at 49 Hz), and reading a ring needs no privilege once the map's descriptor is there.

mod confine;
mod cpu;
mod entry_functions;
mod kallsyms;
mod symbolize;

use std::{io, os::fd::AsFd, process::ExitCode};

use trilobite_worker_wire::{
    Message,
    channel::{receive, send},
};

use crate::{confine::Phase, cpu::profile::Profile};

fn main() -> ExitCode {
    match serve_agent() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Ok(bytes) = Message::Failed(error.to_string()).encode() {
                // The agent may be gone as well.
                let _ = send(io::stdin().as_fd(), &bytes, &[], true);
            }
            ExitCode::FAILURE
        }
    }
}

/// Returns when the profile is made or the agent has closed the socket.
fn serve_agent() -> io::Result<()> {
    // Started by a descriptor, the process would be called after its number.
    rustix::thread::set_name(c"trilobite-worker")?;
    confine::drop_privileges()?;
    let socket = io::stdin();
    let first = receive(&socket, &mut Vec::new(), true)?;
    if first.bytes.is_empty() {
        return Ok(());
    }
    let message = Message::decode(&first.bytes).map_err(io::Error::other)?;
    let Message::Start { ring_bytes, memory_bytes, kallsyms } = message else {
        return Err(io::Error::other("the first message of the agent is not a start"));
    };
    confine::limit_resources(memory_bytes)?;
    let mut fds = first.fds.into_iter();
    let ring = fds.next().ok_or_else(|| io::Error::other("the start came without a ring"))?;
    let kallsyms = if kallsyms { fds.next() } else { None };
    confine::filter_system_calls(Phase::Collect)?;
    Profile::new(socket.as_fd(), ring, ring_bytes as usize, kallsyms, memory_bytes)?.make()
}
