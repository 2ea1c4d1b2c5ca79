//! A cluster in a state folder, as commands and tests see it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cache::{Cache, workspace_root};
use crate::control_plane::{self, API_SERVER};
use crate::error::{Error, Result};
use crate::node;
use crate::progress::step;
use crate::state::State;
use crate::{command, daemon, down, up};

/// A cluster that `up` started; it lives until `down`, longer than this value.
#[derive(Debug, Clone)]
pub struct Cluster {
    state: State,
}

/// What can be stopped and started again by name.
enum Part<'a> {
    ControlPlane(&'static str),
    Node(&'a str),
    OfNode(&'a str, &'static str),
}

impl Cluster {
    /// Starts a cluster with this many nodes.
    pub fn up(folder: &Path, cache: &Cache, nodes: u8) -> Result<Self> {
        Ok(Self { state: up::with_nodes(folder, cache, nodes, None)? })
    }

    /// Starts a cluster whose last node is a QEMU guest with a kernel of this series, e.g. 6.12.
    pub fn up_with_guest(folder: &Path, cache: &Cache, nodes: u8, series: &str) -> Result<Self> {
        Ok(Self { state: up::with_nodes(folder, cache, nodes, Some(series))? })
    }

    /// Starts a control plane without nodes, which outlives this program; `ControlPlane` is the one that does not.
    pub fn up_control_plane(folder: &Path, cache: &Cache) -> Result<Self> {
        Ok(Self { state: up::control_plane_only(folder, cache)? })
    }

    /// The cluster that is up in this folder.
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Self { state: State::open_existing(folder)? })
    }

    /// Takes down the cluster of this folder, if there is one.
    pub fn down(folder: &Path) -> Result<()> {
        down::down(folder)
    }

    /// That `up` came to its end here and the API server answers.
    pub fn check(&self) -> Result<()> {
        if !self.state.is_complete() {
            let folder = self.state.folder.display();
            return Err(Error::Missing(format!("the cluster in {folder} was not brought up to its end")));
        }
        command::output(self.kubectl().args(["get", "--raw", "/readyz"])).map(|_| ())
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.kubeconfig()
    }

    /// kubectl with the administrator's rights.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        control_plane::kubectl(&self.state)
    }

    /// The nodes' names.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.state.nodes().map(|node| node.name()).collect()
    }

    /// containerd's own client on a node, in the namespace of the kubelet's pods.
    pub fn ctr(&self, node: &str) -> Result<Command> {
        let node = self.state.node(node)?;
        if self.state.guest_kernel(node).is_some() {
            return Err(Error::Refused(format!("{} is a guest: its containerd is not on this machine", node.name())));
        }
        Ok(node::ctr(&self.state, node))
    }

    /// Imports image archives on every node.
    pub fn load(&self, archives: &[PathBuf]) -> Result<()> {
        for node in self.state.nodes() {
            step(&format!("{} has the images", node.name()), || node::load(&self.state, node, archives))?;
        }
        Ok(())
    }

    /// Stops `apiserver`, another part of the control plane, a whole node (`node2`), or a part of one (`node2/kubelet`).
    pub fn stop(&self, what: &str) -> Result<()> {
        let part = self.part(what)?;
        if let Part::Node(name) = part {
            let node = self.state.node(name)?;
            return step(&format!("{name} is off"), || node::power_off(&self.state, node));
        }
        let Some(process) = self.process(&part)? else { return Ok(()) };
        step(&format!("{what} has ended"), || {
            // An API server that is asked to end goes on serving open watches for as long as they like.
            let left = daemon::stop_all(&[process], Duration::from_secs(3), &self.state.folder);
            if left.is_empty() { Ok(()) } else { Err(Error::Left(vec![format!("{what}, process {process}")])) }
        })
    }

    /// Ends a daemon as a crash does. An API server that is asked to end takes its address out of the Service, and kube-proxy
    /// may wait for a minute before it looks for it again.
    pub fn kill(&self, what: &str) -> Result<()> {
        self.signal(what, Signal::SIGKILL)?;
        self.stop(what)
    }

    /// Starts again what was stopped, and waits until it is ready.
    pub fn start(&self, what: &str) -> Result<()> {
        match self.part(what)? {
            Part::ControlPlane(name) => control_plane::start(&self.state, name),
            Part::Node(name) => {
                let node = self.state.node(name)?;
                node::power_on(&self.state, node)?;
                node::wait_ready(&self.state, node)
            }
            Part::OfNode(node, name) => node::start(&self.state, self.state.node(node)?, name).map(|_| ()),
        }
    }

    /// Freezes a daemon (`apiserver`, `node2/kubelet`): it keeps its connections and its process id, and does and answers
    /// nothing until `thaw`. A frozen part may be stopped.
    pub fn freeze(&self, what: &str) -> Result<()> {
        self.signal(what, Signal::SIGSTOP)
    }

    /// Lets a frozen daemon go on where it was.
    pub fn thaw(&self, what: &str) -> Result<()> {
        self.signal(what, Signal::SIGCONT)
    }

    fn signal(&self, what: &str, signal: Signal) -> Result<()> {
        let process = self.process(&self.part(what)?)?;
        daemon::send(process.ok_or_else(|| Error::Missing(format!("{what} does not run")))?, signal);
        Ok(())
    }

    /// The process of a daemon, if it runs.
    fn process(&self, part: &Part<'_>) -> Result<Option<u32>> {
        let (home, name) = match *part {
            Part::ControlPlane(name) => (self.state.folder.clone(), name),
            Part::OfNode(node, name) => (self.state.node_folder(self.state.node(node)?), name),
            Part::Node(name) => return Err(Error::Refused(format!("{name} is a node: name a part, `{name}/kubelet`"))),
        };
        Ok(daemon::running(&home, name, &self.state.folder))
    }

    fn part<'a>(&self, what: &'a str) -> Result<Part<'a>> {
        let of_control_plane = if what == "apiserver" { API_SERVER } else { what };
        if let Some(name) = control_plane::PARTS.into_iter().find(|name| *name == of_control_plane) {
            return Ok(Part::ControlPlane(name));
        }
        let (node, part) = what.split_once('/').unwrap_or((what, ""));
        let number = self.state.node(node)?;
        if part.is_empty() {
            return Ok(Part::Node(node));
        }
        if self.state.guest_kernel(number).is_some() {
            return Err(Error::Refused(format!("{node} is a guest: it stops and starts as a whole")));
        }
        let parts = [node::CONTAINERD, node::KUBELET, node::PROXY];
        let found = parts.into_iter().find(|name| *name == part);
        found
            .map(|name| Part::OfNode(node, name))
            .ok_or_else(|| Error::Refused(format!("a node has no part `{part}`, it has {}", parts.join(", "))))
    }
}

/// The state folder when none is named.
#[must_use]
pub fn default_folder(control_plane_only: bool) -> PathBuf {
    workspace_root().join(if control_plane_only { "target/control-plane" } else { "target/cluster" })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::daemon::Daemon;
    use crate::ports::Ports;
    use crate::state::{OriginalSettings, Record};

    /// A cluster of one node, of which nothing runs but a kubelet that sleeps.
    fn a_node_with_a_kubelet(folder: &Path) -> (Cluster, std::process::Child) {
        let ports = Ports { etcd: 1, etcd_peers: 2, api: 3 };
        let (cache, original) = (PathBuf::from("/none"), OriginalSettings::default());
        let record = Record { nodes: 1, guest_kernel: None, ports, cache, original };
        let state = State::create(folder, record).unwrap();
        let kubelet = Daemon {
            name: node::KUBELET,
            home: state.folder.join("node1"),
            cluster: state.folder.clone(),
            program: PathBuf::from("sleep"),
            arguments: vec!["60".into()],
            environment: Vec::new(),
            cgroups: Vec::new(),
            namespace: None,
        };
        let child = kubelet.start().unwrap();
        (Cluster { state }, child)
    }

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(5), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_frozen_daemon_lives_and_does_nothing_until_it_is_thawed() {
        let folder = tempfile::tempdir().unwrap();
        let (cluster, mut kubelet) = a_node_with_a_kubelet(folder.path());
        let is = |state: &str| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", kubelet.id())).unwrap();
            status.contains(&format!("State:\t{state}")) && status.contains("Name:\tsleep")
        };
        wait_until("it sleeps", || is("S"));
        cluster.freeze("node1/kubelet").unwrap();
        wait_until("it is frozen", || is("T"));
        cluster.thaw("node1/kubelet").unwrap();
        wait_until("it goes on", || is("S"));
        cluster.freeze("node1/kubelet").unwrap();
        let ended = std::thread::spawn(move || kubelet.wait());
        cluster.stop("node1/kubelet").unwrap();
        ended.join().unwrap().unwrap();
    }

    #[test]
    fn what_does_not_run_and_what_is_no_daemon_cannot_be_frozen() {
        let folder = tempfile::tempdir().unwrap();
        let (cluster, mut kubelet) = a_node_with_a_kubelet(folder.path());
        assert!(matches!(cluster.freeze("node1/containerd"), Err(Error::Missing(_))));
        assert!(matches!(cluster.freeze("node1"), Err(Error::Refused(_))));
        assert!(cluster.freeze("node2/kubelet").is_err());
        let mut mixed = cluster.clone();
        mixed.state.record.guest_kernel = Some(PathBuf::from("/kernel"));
        assert!(mixed.stop("node1/kubelet").unwrap_err().to_string().contains("as a whole"));
        assert!(mixed.ctr("node1").is_err() && cluster.ctr("node1").is_ok());
        kubelet.kill().unwrap();
        kubelet.wait().unwrap();
    }
}
