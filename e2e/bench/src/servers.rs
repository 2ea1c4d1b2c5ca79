//! nginx and Redis of Debian's packages in the server's pod, and the load generators that people use with them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        resource::{Resource, getrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use trilobite_cluster::{Cache, build, command::output};

use crate::{
    pinned::last_cpu,
    pods::{Pod, Pods},
    request_load::{ANSWER_BYTES, Service},
    waiting::poll,
};

/// Open files of each program, where root may have as many.
const FILES: u64 = 65_536;
/// Files of a program that are no connections.
const OTHER_FILES: u64 = 100;

/// Both servers, on the last CPU alone. Dropping it ends them.
pub(crate) struct Servers {
    programs: Programs,
    folder: PathBuf,
    running: Vec<Child>,
}

/// Programs of packages that are not installed, with the libraries of their own.
struct Programs {
    tree: PathBuf,
    loader: PathBuf,
    libraries: String,
    /// Most open files of each.
    files: u64,
}

impl Servers {
    /// Unpacks them where that is not done yet, and starts both in the server's pod.
    pub(crate) fn start(pods: &Pods) -> Result<Self> {
        let programs = Programs::unpack()?;
        let folder = std::env::temp_dir().join(format!("trilobite-bench-{}-servers", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("html"))?;
        fs::write(folder.join("html/index.html"), "p".repeat(ANSWER_BYTES))?;
        fs::write(folder.join("nginx.conf"), nginx_configuration(&folder))?;
        let place = folder.display().to_string();
        let mut servers = Self { programs, folder, running: Vec::new() };
        let prefix = ["-p", &place, "-c", "nginx.conf", "-e", "stderr"];
        servers.start_one(&pods.server, Service::Nginx, "usr/sbin/nginx", &prefix)?;
        let options =
            ["--save", "", "--appendonly", "no", "--protected-mode", "no", "--maxclients", "20000", "--dir", &place];
        servers.start_one(&pods.server, Service::Redis, "usr/bin/redis-server", &options)?;
        Ok(servers)
    }

    fn start_one(&mut self, pod: &Pod, service: Service, program: &str, words: &[&str]) -> Result<()> {
        let log = self.folder.join(format!("{service:?}.log"));
        let mut command = self.programs.command(pod, program, Some(last_cpu()?));
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        self.running.push(command.spawn().with_context(|| format!("starting {program}"))?);
        let is_up = poll(Duration::from_secs(10), Duration::from_millis(20), || pod.is_listening(service.port()));
        ensure!(is_up, "{program} does not listen: {}", fs::read_to_string(&log).unwrap_or_default());
        Ok(())
    }

    /// Most connections that a server can have here.
    pub(crate) fn most_connections(&self) -> u64 {
        self.programs.files.saturating_sub(OTHER_FILES)
    }

    /// wrk against nginx for so many seconds, beside it on the last CPU; gives the count of requests.
    pub(crate) fn wrk(&self, pods: &Pods, seconds: u32) -> Result<f64> {
        let url = format!("http://{}:{}/index.html", pods.server.address, Service::Nginx.port());
        let mut command = self.programs.command(&pods.client, "usr/bin/wrk", Some(last_cpu()?));
        let text = output(command.args(["-t", "1", "-c", "32", "-d", &format!("{seconds}s"), &url]))?;
        requests_of_wrk(&text)
    }

    /// redis-benchmark with pipelines of 16 over so many connections, on any CPU; gives commands a second.
    pub(crate) fn redis_benchmark(&self, pods: &Pods, connections: u32, commands: u32) -> Result<f64> {
        let mut command = self.programs.command(&pods.client, "usr/bin/redis-benchmark", None);
        command.args(["-h", pods.server.address, "-p", &Service::Redis.port().to_string(), "-P", "16", "--csv"]);
        command.args(["-t", "get", "-c", &connections.to_string(), "-n", &commands.to_string()]);
        commands_a_second(&output(&mut command)?)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.running {
            // nginx ends its worker process only where it is asked to.
            let _ = kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM);
            if !poll(Duration::from_secs(5), Duration::from_millis(20), || matches!(server.try_wait(), Ok(Some(_)))) {
                let _ = server.kill();
                let _ = server.wait();
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Programs {
    fn unpack() -> Result<Self> {
        let tree = build::benchmark_servers(&Cache::from_environment())?;
        let folder = only_entry(&tree.join("lib"), |name| name.ends_with("-linux-gnu"))?;
        let loader = only_entry(&folder, |name| name.starts_with("ld-linux"))?;
        let triplet = folder.file_name().unwrap_or_default();
        let libraries = format!("{}:{}", folder.display(), tree.join("usr/lib").join(triplet).display());
        let files = getrlimit(Resource::RLIMIT_NOFILE)?.1.min(FILES);
        Ok(Self { tree, loader, libraries, files })
    }

    fn command(&self, pod: &Pod, program: &str, cpu: Option<usize>) -> Command {
        let mut command = pod.enter(Path::new("prlimit"));
        command.arg(format!("--nofile={}", self.files));
        if let Some(cpu) = cpu {
            command.args(["taskset", "-c", &cpu.to_string()]);
        }
        command.arg(&self.loader).args(["--library-path", &self.libraries]).arg(self.tree.join(program));
        command
    }
}

fn only_entry(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?.flatten();
    let found = entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())));
    found.with_context(|| format!("{} has not what the servers need", folder.display()))
}

/// One worker process, as the pod has one CPU; nothing is written to a disk.
fn nginx_configuration(folder: &Path) -> String {
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|name| format!("{name}_temp_path {}/{name}; ", folder.display())).collect();
    let port = Service::Nginx.port();
    format!(
        "daemon off; user root; worker_processes 1; pid {0}/nginx.pid;\n\
         events {{ worker_connections 20000; }}\n\
         http {{ {paths} sendfile on; access_log off; keepalive_requests 1000000000;\n\
         server {{ listen {port}; root {0}/html; }} }}\n",
        folder.display()
    )
}

/// From the line `123 requests in 3.00s, 1.00MB read`. Errors make the run worthless.
fn requests_of_wrk(text: &str) -> Result<f64> {
    ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "wrk: {text}");
    let line = text.lines().find(|line| line.contains(" requests in "));
    let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    count.with_context(|| format!("wrk printed no count: {text}"))
}

/// From the line `"GET","123456.78",...`.
fn commands_a_second(text: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.starts_with("\"GET\""));
    let rate = line.and_then(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark printed no rate: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_that_the_load_generators_print() {
        let text = "Running 1s test\n  14208 requests in 1.00s, 17.3MB read\nRequests/sec:  14189.9\n";
        assert_eq!(requests_of_wrk(text).unwrap(), 14208.0);
        assert!(requests_of_wrk(&format!("{text}  Non-2xx or 3xx responses: 1\n")).is_err());
        let text = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"199203.19\",\"0.2\"\n";
        assert_eq!(commands_a_second(text).unwrap(), 199203.19);
    }
}
