//! The worker as a process: what it answers before it is given a profile.

#![allow(clippy::unwrap_used)]

use std::{
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use trilobite_worker_wire::{
    Message,
    channel::{pair, receive, send},
};

fn start_worker() -> (Child, OwnedFd) {
    let (ours, theirs) = pair().unwrap();
    let worker = Command::new(env!("CARGO_BIN_EXE_trilobite-worker"))
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (worker, ours)
}

#[test]
fn worker_ends_when_the_agent_is_gone() {
    let (mut worker, socket) = start_worker();
    drop(socket);
    assert!(worker.wait().unwrap().success());
}

#[test]
fn first_message_that_is_not_a_start_is_refused() {
    let (mut worker, socket) = start_worker();
    send(&socket, &Message::Ready.encode().unwrap(), &[], true).unwrap();
    let answer = receive(&socket, &mut Vec::new(), true).unwrap();
    let expected = Message::Failed("the first message of the agent is not a start".into());
    assert_eq!(Message::decode(&answer.bytes).unwrap(), expected);
    assert!(!worker.wait().unwrap().success());
}

#[test]
fn start_without_a_ring_is_refused() {
    let (mut worker, socket) = start_worker();
    let start = Message::Start { ring_bytes: 1 << 16, memory_bytes: 64 << 20, kallsyms: false };
    send(&socket, &start.encode().unwrap(), &[], true).unwrap();
    let answer = receive(&socket, &mut Vec::new(), true).unwrap();
    let expected = Message::Failed("the start came without a ring".into());
    assert_eq!(Message::decode(&answer.bytes).unwrap(), expected);
    assert!(!worker.wait().unwrap().success());
}
