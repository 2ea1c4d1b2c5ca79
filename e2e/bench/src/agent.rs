//! One agent, started, watched and ended: the binary that ships, as a process.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{cgroup::Cgroup, process::Memory, waiting::poll};

/// The node's name in the API server and in events.
pub(crate) const NODE: &str = "bench";

/// How long an agent may take to start, to become active, or to end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the agent's desired state comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DesiredSource<'a> {
    /// `trilobite-node run -f FILE`.
    File(&'a Path),
    /// `trilobite-node agent`, with the API server that this kubeconfig names.
    Cluster(&'a Path),
}

/// Where an agent runs, and where its events go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'a> {
    /// The binary.
    pub program: &'a Path,
    /// The cgroup, which is made for it.
    pub cgroup: &'a str,
    /// A file for standard output; none throws it away.
    pub output: Option<&'a Path>,
}

/// An agent that runs. Dropping it kills it.
pub(crate) struct Agent {
    child: Child,
    cgroup: Cgroup,
    folder: PathBuf,
    started: Instant,
    said: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Agent {
    /// Starts one with a state folder of its own, and waits until it answers on its socket.
    pub(crate) fn start(launch: Launch<'_>, source: DesiredSource<'_>) -> Result<Self> {
        let cgroup = Cgroup::make(launch.cgroup)?;
        let folder = std::env::temp_dir().join(format!("trilobite-bench-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut command = cgroup.command(launch.program);
        match source {
            DesiredSource::File(file) => command.arg("run").arg("-f").arg(file),
            DesiredSource::Cluster(kubeconfig) => command.arg("agent").env("KUBECONFIG", kubeconfig),
        };
        command.args(["--node-name", NODE, "--state-dir"]).arg(folder.join("state"));
        command.arg("--socket").arg(folder.join("socket"));
        let agent = Self::spawn(command, launch.output, cgroup, folder)?;
        agent.until("it answers on its socket", || UnixStream::connect(agent.folder.join("socket")).is_ok())?;
        Ok(agent)
    }

    fn spawn(mut command: Command, output: Option<&Path>, cgroup: Cgroup, folder: PathBuf) -> Result<Self> {
        let output = match output {
            Some(path) => File::create(path).with_context(|| format!("making {}", path.display()))?.into(),
            None => Stdio::null(),
        };
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().context("starting the agent")?;
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(errors) = child.stderr.take() {
            let said = said.clone();
            thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    lock(&said).push((Instant::now(), line));
                }
            });
        }
        Ok(Self { child, cgroup, folder, started, said })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its cgroup.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Time since it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until a unit is active; gives the time from the start to that log line. An error line is an error.
    pub(crate) fn wait_until_active(&self) -> Result<Duration> {
        let mut found = None;
        self.until("it logs `active`", || {
            let said = lock(&self.said);
            found = said.iter().find(|(_, line)| line.contains(" active resource=")).map(|(at, _)| *at - self.started);
            found.is_some() || said.iter().any(|(_, line)| line.contains("ERROR"))
        })?;
        found.with_context(|| format!("nothing is active:\n{}", self.log()))
    }

    /// When it last logged a line with this text.
    pub(crate) fn last_logged(&self, text: &str) -> Option<(Instant, String)> {
        lock(&self.said).iter().rev().find(|(_, line)| line.contains(text)).cloned()
    }

    /// Memory of the agent itself.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid())
    }

    /// SIGTERM, and the time until it has ended.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let from = Instant::now();
        kill(Pid::from_raw(i32::try_from(self.pid())?), Signal::SIGTERM).context("ending the agent")?;
        let mut ended = None;
        while ended.is_none() && from.elapsed() < TIMEOUT {
            thread::sleep(Duration::from_micros(200));
            ended = self.child.try_wait()?;
        }
        let took = from.elapsed();
        let status = ended.with_context(|| format!("the agent did not end in {TIMEOUT:?}"))?;
        ensure!(status.success(), "the agent ended with {status}:\n{}", self.log());
        Ok(took)
    }

    /// All that it said on standard error.
    pub(crate) fn log(&self) -> String {
        lock(&self.said).iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
        let alive =
            || Path::new(&format!("/proc/{}/fdinfo", self.pid())).read_dir().is_ok_and(|mut dir| dir.next().is_some());
        let mut ended = false;
        let done = poll(TIMEOUT, Duration::from_millis(1), || {
            done() || {
                ended = !alive();
                ended
            }
        });
        if !done || ended {
            bail!("waiting until {what}:\n{}", self.log());
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
