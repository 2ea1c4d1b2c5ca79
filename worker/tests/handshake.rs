//! The worker as a process: what it answers before it is given a profile.

#![allow(clippy::unwrap_used)]

mod worker_process;

use trilobite_worker_wire::{
    Message,
    channel::{receive, send},
};

use worker_process::start_worker;

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
