//! The clients people have: the real `tetra` and the real `hubble`, and our own command line, each reading a running agent.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use trilobite_cluster::{Cache, command::without_proxies};

use crate::{Kubectl, fixture::binary, wait::patience};

/// A client that streams JSON lines, ended when it is dropped.
pub struct Stream {
    child: Child,
    lines: Receiver<String>,
}

impl Stream {
    /// Starts a client and reads its standard output by lines.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the client starts");
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The first line within `seconds` of `patience` of which `wanted` says yes.
    #[track_caller]
    pub fn until(&self, what: &str, seconds: u64, wanted: impl Fn(&str) -> bool) -> String {
        let seconds = patience(seconds);
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut last = String::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if wanted(&line) {
                return line;
            }
            last = line;
        }
        panic!("{what}: not within {seconds} s; last line: {last}");
    }

    /// Every line of the next `span`, whether there is an end or not.
    pub fn during(&self, span: Duration) -> Vec<String> {
        let end = Instant::now() + span;
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            lines.push(line);
        }
        lines
    }

    /// Every line until nothing came for `quiet` seconds; of a source that never rests there would be no end.
    pub fn drain(&self, quiet: u64) -> Vec<String> {
        let mut lines = Vec::new();
        self.for_each(quiet, |line| lines.push(line.to_owned()));
        lines
    }

    /// The same without keeping them.
    pub fn for_each(&self, quiet: u64, mut visit: impl FnMut(&str)) {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(quiet)) {
            visit(&line);
        }
    }

    /// Process id of the client.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent's socket of a node, as the machine has it: the DaemonSet puts each node's into a folder of its own.
pub fn socket(node: &str) -> PathBuf {
    PathBuf::from(format!("/run/trilobite/{node}/agent.sock"))
}

/// The real `tetra`, against a node's socket.
pub fn tetra(node: &str, words: &[&str]) -> Command {
    let mut command = client("tetra");
    command.arg("--server-address").arg(format!("unix://{}", socket(node).display())).args(words);
    command
}

/// The real `hubble`, against a node's socket.
pub fn hubble(node: &str, words: &[&str]) -> Command {
    let mut command = client("hubble");
    command.args(words).arg("--server").arg(format!("unix://{}", socket(node).display()));
    command
}

/// The real `hubble`, against the server that its environment names.
pub fn hubble_from_environment(words: &[&str]) -> Command {
    let mut command = client("hubble");
    command.args(words);
    command
}

/// Our own command line.
pub fn trilobite(kubectl: &Kubectl, words: &[&str]) -> Command {
    let mut command = Command::new(binary("trilobite"));
    without_proxies(&mut command).env("KUBECONFIG", kubectl.kubeconfig()).args(words);
    command
}

/// Runs a client to its end and gives its lines as JSON; anything but success is a failure.
#[track_caller]
pub fn json_lines(mut command: Command) -> Vec<Value> {
    let done = succeed(&mut command);
    String::from_utf8_lossy(&done.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Runs a client to its end; anything but success is a failure.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let done = command.output().expect("the client starts");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    done
}

fn client(name: &str) -> Command {
    Command::new(Cache::from_environment().program(name).expect("`trilobite-cluster build clients` first"))
}
