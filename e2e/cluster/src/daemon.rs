//! A program that outlives this one: started detached in its own session, its cgroup and its network namespace,
//! with a file for its process id and one for its log; and ended by that id.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::without_proxies;
use crate::error::{Error, Result};
use crate::files;
use crate::state::MARK;

/// Says its own process id before it becomes the program, so that none is ever without its file; enters its cgroups;
/// lets go of what a caller such as flock(1) left open.
const BECOME: &str = r#"exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
echo $$ > "$1" || exit 1
n=$2; shift 2
while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 1; shift; n=$((n - 1)); done
exec "$@""#;

/// What to start.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Its name, unique in its home.
    pub name: &'static str,
    /// The folder that gets `pid/<name>` and `log/<name>`.
    pub home: PathBuf,
    /// The state folder that it belongs to.
    pub cluster: PathBuf,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
    /// The `cgroup.procs` files that it enters.
    pub cgroups: Vec<PathBuf>,
    /// The network namespace that it enters.
    pub namespace: Option<String>,
}

impl Daemon {
    pub(crate) fn log(&self) -> PathBuf {
        self.home.join("log").join(self.name)
    }

    fn process_file(&self) -> PathBuf {
        self.home.join("pid").join(self.name)
    }

    /// Starts it and returns at once.
    pub(crate) fn start(&self) -> Result<Child> {
        files::create_folder(&self.home.join("pid"))?;
        files::create_folder(&self.home.join("log"))?;
        let log = self.log();
        let open = || -> Result<File> {
            OpenOptions::new().create(true).append(true).open(&log).map_err(Error::file("write", &log))
        };
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", BECOME, "sh"]).arg(self.process_file()).arg(self.cgroups.len().to_string());
        command.args(&self.cgroups);
        if let Some(namespace) = &self.namespace {
            // Not `ip netns exec`: that mounts another /sys, which hides the cgroups.
            command.arg("nsenter").arg(format!("--net=/run/netns/{namespace}"));
        }
        command.arg(&self.program).args(&self.arguments);
        without_proxies(&mut command).env(MARK, &self.cluster).envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.current_dir(&self.home).stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        command.spawn().map_err(|source| Error::Start { program: self.program.display().to_string(), source })
    }
}

/// The process that a file of `Daemon::start` names, if it still lives and belongs to this cluster.
pub(crate) fn running(home: &Path, name: &str, cluster: &Path) -> Option<u32> {
    let process = fs::read_to_string(home.join("pid").join(name)).ok()?.trim().parse().ok()?;
    belongs(process, cluster).then_some(process)
}

/// Every process that carries the mark of this cluster: its daemons, and what containerd started for pods.
pub(crate) fn all_of(cluster: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process| belongs(*process, cluster))
        .collect()
}

fn belongs(process: u32, cluster: &Path) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{process}/environ")) else { return false };
    let mark = format!("{MARK}={}", cluster.display());
    // A process that has exited and was not yet waited for has no environment, and so is gone.
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

pub(crate) fn send(process: u32, signal: Signal) {
    let Ok(process) = i32::try_from(process) else { return };
    // It may have ended by itself meanwhile, which is what is wanted.
    let _ = kill(Pid::from_raw(process), signal);
}

/// Asks these processes to end, waits, and kills what does not; gives those that live on even so.
pub(crate) fn stop_all(processes: &[u32], patience: Duration, cluster: &Path) -> Vec<u32> {
    let mut left = processes.to_vec();
    for (signal, patience) in [(Signal::SIGTERM, patience), (Signal::SIGKILL, Duration::from_secs(5))] {
        left.iter().for_each(|process| send(*process, signal));
        let start = Instant::now();
        loop {
            left.retain(|process| belongs(*process, cluster));
            if left.is_empty() || start.elapsed() > patience {
                break;
            }
            sleep(Duration::from_millis(20));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(home: &Path, name: &'static str) -> Daemon {
        Daemon {
            name,
            home: home.to_owned(),
            cluster: home.to_owned(),
            program: PathBuf::from("sleep"),
            arguments: vec!["60".into()],
            environment: Vec::new(),
            cgroups: Vec::new(),
            namespace: None,
        }
    }

    #[test]
    fn a_daemon_is_found_by_its_file_and_by_its_mark_until_it_is_ended() {
        let home = tempfile::tempdir().unwrap();
        let mut child = sleeper(home.path(), "sleeper").start().unwrap();
        let start = Instant::now();
        let process = loop {
            match running(home.path(), "sleeper", home.path()) {
                Some(process) => break process,
                None => assert!(start.elapsed() < Duration::from_secs(5), "it never said its process id"),
            }
        };
        assert_eq!(process, child.id());
        assert_eq!(all_of(home.path()), [process]);
        assert!(stop_all(&[process], Duration::from_secs(5), home.path()).is_empty());
        child.wait().unwrap();
        assert_eq!(running(home.path(), "sleeper", home.path()), None);
    }

    #[test]
    fn process_that_reused_an_id_is_not_ours() {
        let home = tempfile::tempdir().unwrap();
        files::write(&home.path().join("pid/etcd"), std::process::id().to_string()).unwrap();
        assert_eq!(running(home.path(), "etcd", home.path()), None);
    }
}
