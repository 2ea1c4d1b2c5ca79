//! The process without privilege. It does one job, which the first message names: a flame graph of a ring of samples and the ELF
//! files of pods; rows of a ring of connections' bytes, or of a recording of one; lookups of a ring of DNS packets; or where the TLS
//! functions of one file are. The agent starts one for each profile and for each such file, and one for the node's DNS, with its
//! socket as standard input; the worker's exit returns its memory.
//!
//! The worker reads the ring itself: otherwise the agent would copy every stack through the socket (50 KB/s for each busy
//! processor at 49 Hz), and reading a ring needs no privilege once the map's descriptor is there.

mod clock;
mod confine;
mod cpu;
mod dns;
mod elf;
mod entry_functions;
mod inspect;
mod kallsyms;
mod outbox;
mod panics;
mod pending;
mod requests;
mod symbolize;

use std::{io, os::fd::AsFd, process::ExitCode};

use trilobite_program_memory::WipingAllocator;
use trilobite_worker_wire::{
    Message,
    channel::{receive, send},
};

use crate::{
    confine::Phase,
    cpu::profile::Profile,
    dns::DnsJob,
    requests::{Budget, ReplayJob, RequestJob},
};

/// Wipes what is freed in a process that reads requests.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator::new();

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

/// Returns when the job is done or the agent has closed the socket.
fn serve_agent() -> io::Result<()> {
    // Started by a descriptor, the process would be called after its number.
    rustix::thread::set_name(c"trilobite-worker")?;
    confine::drop_privileges()?;
    let socket = io::stdin();
    let first = receive(&socket, &mut Vec::new(), true)?;
    if first.bytes.is_empty() {
        return Ok(());
    }
    let mut fds = first.fds.into_iter();
    let without_ring = || io::Error::other("the start came without a ring");
    match Message::decode(&first.bytes).map_err(io::Error::other)? {
        Message::Start { ring_bytes, memory_bytes, kallsyms } => {
            confine::limit_resources(memory_bytes)?;
            let ring = fds.next().ok_or_else(without_ring)?;
            let kallsyms = if kallsyms { fds.next() } else { None };
            confine::filter_system_calls(Phase::Collect)?;
            Profile::new(socket.as_fd(), ring, ring_bytes as usize, kallsyms, memory_bytes)?.make()
        }
        Message::StartRequests { ring_bytes, memory_bytes, settings, recording } => {
            ALLOCATOR.start_wiping();
            confine::limit_resources(memory_bytes)?;
            let ring = fds.next().ok_or_else(without_ring)?;
            let budget = Budget::measure(memory_bytes);
            confine::filter_system_calls(Phase::Serve)?;
            RequestJob::new(socket.as_fd(), ring, ring_bytes as usize, &settings, recording, budget)?.serve()
        }
        Message::StartDns { ring_bytes, memory_bytes, skip } => {
            ALLOCATOR.start_wiping();
            confine::limit_resources(memory_bytes)?;
            let ring = fds.next().ok_or_else(without_ring)?;
            let job = DnsJob::new(socket.as_fd(), ring, ring_bytes as usize, skip)?;
            confine::filter_system_calls(Phase::Serve)?;
            job.serve()
        }
        Message::Replay { memory_bytes } => {
            let file = fds.next().ok_or_else(|| io::Error::other("the recording is missing"))?;
            ALLOCATOR.start_wiping();
            confine::limit_resources(memory_bytes)?;
            let budget = Budget::measure(memory_bytes);
            confine::filter_system_calls(Phase::Serve)?;
            ReplayJob::new(socket.as_fd(), file, budget)?.serve()
        }
        Message::Inspect => {
            let file = fds.next().ok_or_else(|| io::Error::other("the file to inspect is missing"))?;
            inspect::answer(socket.as_fd(), file)
        }
        _ => Err(io::Error::other("the first message of the agent is not a start")),
    }
}
