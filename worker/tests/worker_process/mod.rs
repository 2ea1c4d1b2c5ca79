//! A worker as a process, with the agent's end of its socket.

use std::{
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use trilobite_worker_wire::channel::pair;

/// Starts a worker as the agent does.
pub(crate) fn start_worker() -> (Child, OwnedFd) {
    let (ours, theirs) = pair().unwrap();
    let worker = Command::new(env!("CARGO_BIN_EXE_trilobite-worker"))
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (worker, ours)
}
