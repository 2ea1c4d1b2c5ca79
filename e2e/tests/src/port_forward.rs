//! `kubectl port-forward`, ended when it is dropped.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::Kubectl;

/// A port of this machine that leads into a pod.
pub struct PortForward {
    child: Child,
    /// At 127.0.0.1.
    pub port: u16,
    /// Open until the end: kubectl prints more later, and would end on a closed pipe.
    _said: BufReader<ChildStdout>,
}

impl PortForward {
    /// To a port of a Service, e.g. `svc/hubble-relay` and 80, at a port that is free here.
    #[track_caller]
    pub fn start(kubectl: &Kubectl, namespace: &str, target: &str, port: u16) -> Self {
        Self::of_command(kubectl.command(&["-n", namespace, "port-forward", target, &format!(":{port}")]))
    }

    /// Any command that forwards a port of 127.0.0.1.
    #[track_caller]
    pub fn of_command(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("kubectl starts");
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        // Forwarding from 127.0.0.1:PORT -> 4245
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{command:?} said {line:?}"));
        Self { child, port, _said: said }
    }

    /// The address that clients are given.
    pub fn server(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for PortForward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
