//! The worker as a process that inspects one file: it answers, and ends.

#![allow(clippy::unwrap_used)]

mod worker_process;

use std::{fs::File, os::fd::AsFd};

use trilobite_worker_wire::{
    Message,
    channel::{receive, send},
};

use worker_process::start_worker;

/// The answer about a file, or the error; none if the worker ended without.
fn inspected(path: &str) -> Option<Message> {
    let (mut worker, socket) = start_worker();
    let file = File::open(path).unwrap();
    send(&socket, &Message::Inspect.encode().unwrap(), &[file.as_fd()], true).unwrap();
    let answer = receive(&socket, &mut Vec::new(), true).unwrap();
    let ended = worker.wait().unwrap();
    let message = Message::decode(&answer.bytes).ok()?;
    assert_eq!(ended.success(), matches!(message, Message::Inspected(_)));
    Some(message)
}

#[test]
fn confined_worker_inspects_a_program_of_any_size_and_ends() {
    for path in ["/proc/self/exe", "/usr/bin/node"] {
        if File::open(path).is_err() {
            continue;
        }
        let Some(Message::Inspected(inspection)) = inspected(path) else { panic!("{path} was not inspected") };
        assert_eq!(inspection.is_visible(), path.ends_with("node"), "{path}: {inspection:?}");
    }
}

#[test]
fn file_that_is_no_program_has_nothing() {
    assert_eq!(inspected("/proc/self/status"), Some(Message::Inspected(Default::default())));
}

#[test]
fn question_without_a_file_is_refused() {
    let (mut worker, socket) = start_worker();
    send(&socket, &Message::Inspect.encode().unwrap(), &[], true).unwrap();
    let answer = receive(&socket, &mut Vec::new(), true).unwrap();
    let expected = Message::Failed("the file to inspect is missing".into());
    assert_eq!(Message::decode(&answer.bytes).unwrap(), expected);
    assert!(!worker.wait().unwrap().success());
}
