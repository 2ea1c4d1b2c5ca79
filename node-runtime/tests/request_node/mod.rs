//! A node whose agent captures requests: a cgroup with two ends of a connection, the application layer, and its rows.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use trilobite_crds::node::{
    AppProfileSession, ApplicationSettings, Desired, PodScope, RequestsSession, RequestsState, Session, SessionContent,
    Source, SourceKind,
};
use trilobite_node::{
    identity::{IdentityService, Pod},
    kernel::{Account, Facts, account, probe},
    layers::{
        LayerContext,
        application::{Application, RowsAnswer},
        worker::WorkerProgram,
    },
    loss::Ledger,
    plan::{UnitKey, UnitState, plan},
};
use trilobite_worker_wire::{RequestRow, RowQuery};

/// Environment variables of the program that is both ends of the connections.
pub(crate) const PORT: &str = "TRILOBITE_TEST_PORT";
pub(crate) const REQUESTS: &str = "TRILOBITE_TEST_REQUESTS";
/// Microseconds between two requests.
pub(crate) const PAUSE: &str = "TRILOBITE_TEST_PAUSE";
/// Every so many requests the answer is an error.
pub(crate) const FAILS_EVERY: usize = 5;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct RequestNode {
    pub(crate) application: Application,
    pub(crate) ledger: Ledger,
    pub(crate) desired: Desired,
    facts: Arc<Facts>,
    cgroup: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl RequestNode {
    /// A node on which an agent has just started. Only one exists at a time.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_pods(name, None)
    }

    /// A node of a cluster that knows these pods; without any, a machine by itself.
    pub(crate) fn with_pods(name: &str, pods: Option<Vec<Pod>>) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test loads programs into the kernel: run it as root");
        let alone = ONE_AT_A_TIME.lock();
        assert_eq!(account(), Account::default(), "a test before has left something");
        let mut facts = probe::facts(None);
        let cgroup = facts.cgroup_root.join(format!("trilobite-requests-{name}-{}", std::process::id()));
        fs::create_dir_all(&cgroup).expect("the v2 tree of cgroups can be written");
        facts.node_cgroup = Some(fs::metadata(&cgroup).unwrap().ino());
        let below = cgroup.strip_prefix(&facts.cgroup_root).unwrap();
        facts.node_cgroup_level = u32::try_from(below.components().count()).unwrap();
        let (facts, ledger) = (Arc::new(facts), Ledger::default());
        let context = LayerContext {
            node_name: "reef".into(),
            facts: facts.clone(),
            ledger: ledger.clone(),
            state_dir: std::env::temp_dir().join(format!("trilobite-requests-{}", std::process::id())),
        };
        let identity = IdentityService::new(facts.clone(), ledger.clone(), pods.is_some());
        let pods: Vec<Pod> = pods.unwrap_or_default();
        for container in pods.iter().map(container_path) {
            fs::create_dir_all(cgroup.join(container)).unwrap();
        }
        identity.set_pods(pods.into_iter().map(Arc::new).collect());
        let application = Application::new(context, identity, WorkerProgram::find(&worker_path()));
        Self { application, ledger, desired: Desired::default(), facts, cgroup, _alone: alone }
    }

    /// Asks for the requests on a port for a minute.
    pub(crate) fn request(&mut self, name: &str, port: u16) -> UnitKey {
        self.request_with(name, requests_on(port), 16 << 20)
    }

    pub(crate) fn request_with(&mut self, name: &str, requests: RequestsSession, memory: u64) -> UnitKey {
        self.request_profile(name, profile(requests, memory))
    }

    pub(crate) fn request_profile(&mut self, name: &str, profile: AppProfileSession) -> UnitKey {
        let source =
            Source { kind: SourceKind::AppProfile, namespace: Some("shop".into()), name: name.into(), generation: 1 };
        let session = Session {
            name: format!("appprofile.shop.{name}"),
            source,
            expires_at: Timestamp::now() + SignedDuration::from_secs(60),
            content: SessionContent::AppProfile(profile),
        };
        let key = UnitKey::of_session(&session);
        self.desired.sessions.push(session);
        key
    }

    /// Asks for a profile without an end.
    pub(crate) fn request_standing(&mut self, port: u16) -> UnitKey {
        let standing = profile(requests_on(port), 16 << 20);
        let key = UnitKey::of_standing(&standing);
        self.desired.application = ApplicationSettings { standing: Some(standing), ..ApplicationSettings::default() };
        key
    }

    /// Applies what is asked for.
    pub(crate) async fn apply(&mut self) -> BTreeMap<UnitKey, UnitState> {
        self.apply_at(Timestamp::now()).await
    }

    pub(crate) async fn apply_at(&mut self, now: Timestamp) -> BTreeMap<UnitKey, UnitState> {
        self.application.apply(&plan(&self.desired, &self.facts, now)).await
    }

    /// Withdraws everything, and waits until nothing of it is left.
    pub(crate) async fn withdraw(&mut self) {
        self.desired = Desired::default();
        self.apply().await;
        self.wait_until("everything is gone", |_| account() == Account::default() && workers().is_empty()).await;
    }

    /// Runs both ends of a connection on the node: so many requests, one after the other.
    pub(crate) async fn exchange(&self, port: u16, requests: usize) {
        let mut child = self.start_exchange(port, requests, Duration::ZERO);
        for _ in 0..600 {
            if let Some(status) = child.try_wait().unwrap() {
                return assert!(status.success());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the exchange did not end");
    }

    /// Starts both ends of a connection, with a pause between two requests.
    pub(crate) fn start_exchange(&self, port: u16, requests: usize, pause: Duration) -> Child {
        self.command(std::env::current_exe().unwrap())
            .args(["--exact", "both_ends_of_a_connection", "--ignored"])
            .env(PORT, port.to_string())
            .env(REQUESTS, requests.to_string())
            .env(PAUSE, pause.as_micros().to_string())
            .spawn()
            .unwrap()
    }

    /// Starts a program on the node.
    #[allow(dead_code, reason = "not in every test that has this module")]
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Child {
        self.command(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The same with environment variables.
    #[allow(dead_code, reason = "not in every test that has this module")]
    pub(crate) fn start_with(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        let mut command = self.command(program);
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Starts a program in the container of a pod.
    #[allow(dead_code, reason = "not in every test that has this module")]
    pub(crate) fn start_in(&self, pod: &Pod, program: &str, arguments: &[&str]) -> Child {
        let mut command = in_cgroup(&self.cgroup.join(container_path(pod)), program);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// A program that enters the node's cgroup first. Its output is discarded.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        in_cgroup(&self.cgroup, program)
    }

    /// The rows of a profile, once there are so many.
    pub(crate) async fn rows(&mut self, profile: &str, count: usize) -> Vec<RequestRow> {
        let mut rows = Vec::new();
        for _ in 0..200 {
            rows = self.rows_now(profile).await;
            if rows.len() >= count {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} rows after ten seconds; {:#?}", rows.len(), self.application.request_states());
    }

    pub(crate) async fn rows_now(&mut self, profile: &str) -> Vec<RequestRow> {
        let mut rows = Vec::new();
        let Some(mut answers) = self.application.request_rows().ask(profile, RowQuery::default()).await else {
            return rows;
        };
        while let Some(RowsAnswer::Row(row)) = answers.next().await {
            rows.push(*row);
        }
        rows
    }

    pub(crate) fn state(&self, key: &UnitKey) -> RequestsState {
        self.application.request_states()[key].clone()
    }

    /// Waits for a condition, up to twenty seconds.
    pub(crate) async fn wait_until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            if reached(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within twenty seconds: {what}; {:?} {:?} {:?}", account(), workers(), self.application.states());
    }
}

impl Drop for RequestNode {
    fn drop(&mut self) {
        for _ in 0..50 {
            if remove_cgroups(&self.cgroup).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn in_cgroup(cgroup: &Path, program: impl AsRef<OsStr>) -> Command {
    let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", cgroup.display());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &enter, "sh"]).arg(program).stdout(Stdio::null());
    command
}

/// The cgroup of a pod's container, below the node's.
fn container_path(pod: &Pod) -> PathBuf {
    let id = pod.containers[0].id.rsplit("//").next().unwrap();
    Path::new("kubepods").join(format!("pod{}", pod.cgroup_uid)).join(id)
}

/// Removes a cgroup with all below it.
fn remove_cgroups(cgroup: &Path) -> std::io::Result<()> {
    for below in fs::read_dir(cgroup)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove_cgroups(&below.path())?;
    }
    fs::remove_dir(cgroup)
}

/// HTTP on a port, both roles.
pub(crate) fn requests_on(port: u16) -> RequestsSession {
    RequestsSession {
        protocols: vec![trilobite_crds::app_profile::RequestProtocol::Http],
        ports: vec![port],
        tls: trilobite_crds::app_profile::TlsCapture::Off,
        retain_minutes: 60,
        retain_after_end_minutes: 10,
        ..RequestsSession::default()
    }
}

pub(crate) fn profile(requests: RequestsSession, memory_budget_bytes: u64) -> AppProfileSession {
    AppProfileSession { pods: PodScope::default(), memory_budget_bytes, cpu: None, requests: Some(requests) }
}

/// Process ids of the workers of this process.
pub(crate) fn workers() -> Vec<u32> {
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let pids: String = tasks.map(children).collect::<Vec<_>>().join(" ");
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(|pid| name(*pid).trim() == "trilobite-worke" || name(*pid).trim() == "trilobite-worker")
        .collect()
}

/// The worker's binary: built by cargo beside the agent's, a folder above this test.
fn worker_path() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().with_file_name("trilobite-worker");
    let path = std::env::var_os("TRILOBITE_WORKER").map_or_else(beside, PathBuf::from);
    assert!(path.exists(), "{} is missing; build it first: cargo build -p trilobite-worker", path.display());
    path
}

/// Open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Serves one connection of HTTP/1.1, and sends requests on it, one after the other: `/item/0`, `/item/1`, ...
pub(crate) fn exchange_in_this_process(port: u16, requests: usize, pause: Duration) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(&stream, requests);
    });
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for number in 0..requests {
        let request = format!("GET /item/{number}?token=hidden HTTP/1.1\r\nHost: reef\r\nCookie: secret\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let length = read_head(&mut reader);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        thread::sleep(pause);
    }
    drop((stream, reader));
    server.join().unwrap();
}

fn serve(mut stream: &TcpStream, requests: usize) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    for number in 0..requests {
        read_head(&mut reader);
        let status = if number % FAILS_EVERY == FAILS_EVERY - 1 { "503 Service Unavailable" } else { "200 OK" };
        let body = format!("item {number}");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

/// Reads up to the empty line; returns the length of the body.
fn read_head(reader: &mut impl BufRead) -> usize {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" || line.is_empty() {
            return length;
        }
    }
}

/// Whether a file exists.
pub(crate) fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
