//! The program between an agent that restarts and a reader of its standard output.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};

/// KiB of resident memory.
const RSS_MAX: u64 = 1024;

struct Export(Child);

impl Export {
    fn start(fifo: &Path) -> (Self, BufReader<ChildStdout>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trilobite-export-stdout"));
        let mut child = command.arg(fifo).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (Self(child), out)
    }

    fn terminate(&self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As the agent opens it.
fn agent(fifo: &Path) -> File {
    let mut file = OpenOptions::new().read(true).write(true).open(fifo).unwrap();
    file.write_all(b"\x18\n").unwrap();
    file
}

fn next_line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line
}

#[test]
fn events_of_a_restarted_agent_follow_and_the_last_ones_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("events");
    // It waits for the agent to create the FIFO.
    let (mut export, mut out) = Export::start(&fifo);
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();

    let mut first = agent(&fifo);
    first.write_all(b"{\"one\":1}\n{\"killed in the mid").unwrap();
    assert_eq!(next_line(&mut out), "{\"one\":1}\n");
    drop(first);
    let mut second = agent(&fifo);
    second.write_all(b"{\"two\":2}\n").unwrap();
    assert_eq!(next_line(&mut out), "{\"two\":2}\n");

    export.terminate();
    second.write_all(b"{\"after SIGTERM\":3}\n").unwrap();
    drop(second);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "{\"after SIGTERM\":3}\n");
    assert!(export.0.wait().unwrap().success());
}

#[test]
fn export_without_an_agent_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut export, _) = Export::start(&folder.path().join("events"));
    export.terminate();
    // Before it has blocked the signal it is ended by it.
    export.0.wait().unwrap();
}

#[test]
fn memory_stays_within_a_mebibyte() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("events");
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let (export, mut out) = Export::start(&fifo);
    let mut agent = agent(&fifo);
    let line = [&[b'x'; 20_000][..], b"\n"].concat();
    for _ in 0..500 {
        agent.write_all(&line).unwrap();
        assert_eq!(next_line(&mut out).len(), line.len());
    }
    let status = fs::read_to_string(format!("/proc/{}/status", export.0.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    println!("resident memory: {resident} KiB");
    assert!(resident <= RSS_MAX, "{resident} KiB");
}
