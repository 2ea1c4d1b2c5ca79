//! Two pods as a CNI plugin would have made them: each a process in a cgroup and a network namespace of its own, joined to
//! one bridge by a veth. Nothing of them can reach any other network: the bridge has no address and no other port.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::Value;

use crate::{cgroup::Cgroup, pinned::Pinned, traffic::Traffic, waiting::poll};

const BRIDGE: &str = "tbbench0";
/// Of the range that RFC 2544 gives to benchmarks.
const ADDRESSES: [&str; 2] = ["198.18.77.1", "198.18.77.2"];
const NAMES: [&str; 2] = ["client", "server"];

/// One pod.
pub(crate) struct Pod {
    /// Its name.
    pub name: &'static str,
    /// Its address.
    pub address: &'static str,
    cgroup: Cgroup,
    holder: Child,
    interface: String,
}

/// Both pods, and what joins them. Dropping it ends and removes all of it.
pub(crate) struct Pods {
    /// The client of every connection.
    pub client: Pod,
    /// The server of every connection.
    pub server: Pod,
    answering: Option<Child>,
}

impl Pods {
    /// Makes them in these cgroups.
    pub(crate) fn make(cgroups: [&str; 2]) -> Result<Self> {
        // What an earlier run left that was killed.
        remove_interfaces();
        ip(&["link", "add", "name", BRIDGE, "type", "bridge"])?;
        ip(&["link", "set", BRIDGE, "up"])?;
        let mut pods = Self { client: Pod::make(0, cgroups[0])?, server: Pod::make(1, cgroups[1])?, answering: None };
        let mut command = pods.server.command(&Traffic::Serve { pinned: Pinned { to_last_cpu: true } })?;
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the server")?;
        let output = server.stdout.take().context("the server has no output")?;
        pods.answering = Some(server);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "ready\n", "the server said {line:?}");
        Ok(pods)
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        if let Some(a) = self.answering.take() {
            kill_and_wait(a);
        }
        remove_interfaces();
    }
}

impl Pod {
    fn make(number: usize, cgroup: &str) -> Result<Self> {
        let (name, address) = (NAMES[number], ADDRESSES[number]);
        let interface = format!("tbbench{}", number + 1);
        let cgroup = Cgroup::make(cgroup)?;
        let mut command = cgroup.command(Path::new("unshare"));
        // It ends when its standard input does: also when this process is killed.
        command.args(["-n", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let holder = command.spawn().with_context(|| format!("starting the pod {name}"))?;
        let pod = Self { name, address, cgroup, holder, interface };
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        let pid = pod.holder.id().to_string();
        let own = of("self")?;
        let apart = poll(std::time::Duration::from_secs(5), std::time::Duration::from_millis(5), || {
            of(&pid).is_ok_and(|namespace| namespace != own)
        });
        ensure!(apart, "the pod {name} got no network namespace");
        ip(&["link", "add", "name", &pod.interface, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        ip(&["link", "set", &pod.interface, "master", BRIDGE, "up"])?;
        pod.inside(&["addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        pod.inside(&["link", "set", "lo", "up"])?;
        pod.inside(&["link", "set", "eth0", "up"])?;
        Ok(pod)
    }

    fn inside(&self, words: &[&str]) -> Result<()> {
        let pid = self.holder.id().to_string();
        let all = [&["-t", &pid, "-n", "ip"], words].concat();
        succeed(Command::new("nsenter").args(all))
    }

    /// The cgroup of everything in it.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// A command that runs `program` in its cgroup and network namespace.
    pub(crate) fn enter(&self, program: &Path) -> Command {
        let mut command = self.cgroup.command(Path::new("nsenter"));
        command.args(["-t", &self.holder.id().to_string(), "-n"]).arg(program);
        command
    }

    /// True once a process in it accepts connections on this port of IPv4.
    pub(crate) fn is_listening(&self, port: u16) -> bool {
        let sockets = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.holder.id())).unwrap_or_default();
        sockets.lines().any(|line| is_listener(line, port))
    }

    fn command(&self, traffic: &Traffic) -> Result<Command> {
        let mut command = self.enter(&std::env::current_exe()?);
        command.arg("traffic");
        match traffic {
            Traffic::Serve { pinned } => command.arg("serve").args(pin(pinned)),
            Traffic::Connect { address, rate, seconds, from_port, pinned } => {
                command.args(["connect", &address.to_string(), "--from-port", &from_port.to_string()]);
                command.args(["--rate", &rate.to_string(), "--seconds", &seconds.to_string()]).args(pin(pinned))
            }
            Traffic::Bulk { address, seconds, pinned } => {
                command.args(["bulk", &address.to_string(), "--seconds", &seconds.to_string()]).args(pin(pinned))
            }
            Traffic::Burn { threads, seconds } => {
                command.args(["burn", "--threads", &threads.to_string(), "--seconds", &seconds.to_string()])
            }
            Traffic::Requests(load) => command.arg("requests").args(load.words()).args(pin(&load.pinned)),
            Traffic::Calls { call, pinned } => {
                let call = call.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
                command.args(["calls", &call]).args(pin(pinned))
            }
        };
        Ok(command)
    }

    /// Runs a program in it to its end.
    pub(crate) fn run(&self, program: &Path, words: &[&str]) -> Result<()> {
        succeed(self.cgroup.command(program).args(words).stdout(Stdio::null()))
    }

    /// Generates one kind of load in it, and gives the work done.
    pub(crate) fn generate(&self, traffic: &Traffic) -> Result<Value> {
        let done = self.command(traffic)?.stdin(Stdio::null()).output().context("starting the load")?;
        ensure!(done.status.success(), "{traffic:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).with_context(|| format!("what {traffic:?} printed"))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn pin(pinned: &Pinned) -> Option<&'static str> {
    pinned.to_last_cpu.then_some("--pin")
}

/// A line of /proc/net/tcp in state 0A.
fn is_listener(line: &str, port: u16) -> bool {
    let mut words = line.split_whitespace().skip(1);
    words.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}"))) && words.nth(1) == Some("0A")
}

fn kill_and_wait(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn remove_interfaces() {
    for number in (0..=NAMES.len()).rev() {
        let name = format!("tbbench{number}");
        if Path::new("/sys/class/net").join(&name).exists() {
            let _ = ip(&["link", "del", &name]);
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    succeed(Command::new("ip").args(words))
}

fn succeed(command: &mut Command) -> Result<()> {
    let done = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_is_told_from_a_connection_of_its_port() {
        let line = |state: &str| format!("   0: 00000000:1F90 00000000:0000 {state} 00000000:00000000 00:00000000");
        assert!(is_listener(&line("0A"), 8080));
        assert!(!is_listener(&line("01"), 8080) && !is_listener(&line("0A"), 8081));
    }
}
