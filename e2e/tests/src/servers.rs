//! Real servers and clients of Debian in pods, and the rows that the product makes of what they say to each other.

use std::{
    collections::BTreeMap,
    io::Write,
    process::Stdio,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use trilobite_cluster::Cache;

use crate::{
    Fixture, Kubectl,
    clients::{Stream, json_lines, trilobite},
    eventually,
    pods::{self, TestNamespace},
    profiles::start_profile,
    wait::patience,
};

/// Where Debian has the programs.
const PATH: &str = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin";

/// A pod with the image of servers.
pub struct ServerPod<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name, and the value of its label `app`.
    pub name: &'a str,
    /// The node that it must run on.
    pub node: &'a str,
    /// What its shell does.
    pub script: &'a str,
    /// The user that it runs as.
    pub user: u32,
}

impl ServerPod<'_> {
    /// Makes it and waits until it runs.
    #[track_caller]
    pub fn start(&self, fixture: &Fixture) {
        import(fixture);
        let Self { namespace, name, node, script, user } = self;
        let command = json!(["sh", "-c", format!("{PATH}\n{script}")]).to_string();
        let security = format!("{{runAsUser: {user}}}");
        fixture.kubectl.apply(&pods::yaml(
            [namespace, name, node],
            "localhost/trilobite-servers:1",
            &security,
            &command,
        ));
        pods::wait_until_ready(&fixture.kubectl, namespace, name);
    }
}

/// Imports the image of servers on both nodes, once.
fn import(fixture: &Fixture) {
    static IMPORTED: OnceLock<()> = OnceLock::new();
    IMPORTED.get_or_init(|| {
        let archive = Cache::from_environment().servers_archive().unwrap();
        fixture.cluster.load(&[archive]).unwrap();
    });
}

/// A server on node2, and a pod `client` on node1, in a namespace of the test.
pub struct ServerAndClient {
    /// Address of the server's pod.
    pub host: String,
    kubectl: &'static Kubectl,
    namespace: &'static str,
    server: &'static str,
    _deleted: TestNamespace,
}

impl ServerAndClient {
    /// Makes namespace and pods, and waits until both run. The shell of the server's pod runs `script` as this user.
    #[track_caller]
    pub fn start(
        fixture: &'static Fixture,
        namespace: &'static str,
        server: &'static str,
        script: &str,
        user: u32,
    ) -> Self {
        let kubectl = &fixture.kubectl;
        let deleted = TestNamespace::create(kubectl, namespace);
        ServerPod { namespace, name: server, node: "node2", script, user }.start(fixture);
        start_client(fixture, namespace);
        let host = pods::address(kubectl, namespace, server, 0);
        Self { host, kubectl, namespace, server, _deleted: deleted }
    }

    /// Captures the requests of both pods: see `profile`.
    #[track_caller]
    pub fn profile(&self, requests: &str) {
        profile(self.kubectl, self.namespace, requests);
    }

    /// What a shell in the server's pod prints.
    #[track_caller]
    pub fn on_server(&self, script: &str) -> String {
        shell(self.kubectl, self.namespace, self.server, script)
    }

    /// What a shell in the client's pod prints.
    #[track_caller]
    pub fn on_client(&self, script: &str) -> String {
        shell(self.kubectl, self.namespace, CLIENT, script)
    }

    /// Waits until a shell in the client's pod ends with success.
    #[track_caller]
    pub fn wait_for_client(&self, script: &str) {
        wait_for(self.kubectl, self.namespace, CLIENT, script);
    }

    /// What a Python program in the client's pod prints. Its arguments are the server's address and `arguments`; the text of the
    /// program is in no argument of a process.
    #[track_caller]
    pub fn run_python(&self, program: &str, arguments: &str) -> String {
        put_file(self.kubectl, self.namespace, CLIENT, "/tmp/program.py", program.as_bytes());
        self.on_client(&format!("python3 /tmp/program.py {} {arguments}", self.host))
    }

    /// Every row of both pods since the profile began.
    #[track_caller]
    pub fn rows(&self, words: &[&str], expected: usize) -> Vec<Row> {
        rows(self.kubectl, self.namespace, words, expected)
    }
}

/// Name of the pod in which clients run.
const CLIENT: &str = "client";

/// Makes the pod `client` on node1, in which tests run clients, and waits until it runs.
#[track_caller]
pub fn start_client(fixture: &Fixture, namespace: &str) {
    ServerPod { namespace, name: CLIENT, node: "node1", script: "sleep 100000", user: 0 }.start(fixture);
}

/// The script of a pod with nginx, which serves `/items/`, and logs each request in this format to /tmp/access.log. `server` is the
/// rest of its `server` block.
pub fn nginx(log_format: &str, server: &str) -> String {
    format!(
        r#"mkdir -p /tmp/www /var/log/nginx /var/lib/nginx/body
echo hello >/tmp/www/item
cat >/tmp/nginx.conf <<'END'
user root; worker_processes 2; error_log /tmp/error.log; pid /tmp/nginx.pid;
events {{ worker_connections 512; }}
http {{
  log_format all '{log_format}';
  access_log /tmp/access.log all;
  sendfile on; keepalive_requests 100000;
  server {{
    root /tmp/www;
    location /items/ {{ try_files /item =404; }}
    {server}
  }}
}}
END
exec nginx -c /tmp/nginx.conf -g 'daemon off;'"#
    )
}

/// What a shell in a pod prints; anything but success is a failure.
#[track_caller]
pub fn shell(kubectl: &Kubectl, namespace: &str, pod: &str, script: &str) -> String {
    kubectl.run(&["-n", namespace, "exec", pod, "--", "sh", "-c", &format!("{PATH}; {script}")])
}

/// Waits until a shell in a pod ends with success.
#[track_caller]
pub fn wait_for(kubectl: &Kubectl, namespace: &str, pod: &str, script: &str) {
    let with_path = format!("{PATH}; {script}");
    eventually(script, 60, || kubectl.ask(&["-n", namespace, "exec", pod, "--", "sh", "-c", &with_path]).map(drop));
}

/// Makes an AppProfile of every pod of a namespace, named `requests`, and waits until it is active.
#[track_caller]
pub fn profile(kubectl: &Kubectl, namespace: &str, requests: &str) {
    let spec = format!("podSelector: {{}}, requests: {requests}, durationSeconds: 1800, memoryBudgetBytes: 67108864");
    start_profile(kubectl, namespace, "requests", &spec);
}

/// Writes a file in a pod. Its content is in no argument of a process, and in no object.
#[track_caller]
pub fn put_file(kubectl: &Kubectl, namespace: &str, pod: &str, path: &str, content: &[u8]) {
    let words = ["-n", namespace, "exec", "-i", pod, "--", "sh", "-c", &format!("cat >{path}; chmod 755 {path}")];
    let mut child = kubectl.command(&words).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    assert!(child.wait().unwrap().success(), "{path} was not written");
}

/// One request, as the command line prints it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The whole object.
    pub object: Value,
}

impl Row {
    /// A text field.
    pub fn text(&self, field: &str) -> &str {
        self.object[field].as_str().unwrap_or_default()
    }

    /// The latency in milliseconds.
    pub fn latency_ms(&self) -> f64 {
        self.text("latency").trim_end_matches('s').parse::<f64>().unwrap_or(f64::NAN) * 1000.0
    }

    /// `IP:PORT` of `local` or `remote`; empty if it is not known.
    pub fn endpoint(&self, field: &str) -> String {
        let endpoint = &self.object[field];
        let ip = endpoint["ip"].as_str().unwrap_or_default();
        if ip.is_empty() { String::new() } else { format!("{ip}:{}", endpoint["port"]) }
    }

    /// Operation, target and status, as one text.
    pub fn words(&self) -> String {
        format!("{} {} {}", self.text("operation"), self.text("target"), self.text("status"))
    }
}

/// Every row of a namespace since the profile began, once no more come for some seconds.
#[track_caller]
pub fn rows(kubectl: &Kubectl, namespace: &str, words: &[&str], expected: usize) -> Vec<Row> {
    let all = ["requests", "-n", namespace, "-f", "--since", "1h", "-o", "json"];
    let stream = Stream::start(trilobite(kubectl, &[&all, words].concat()));
    let (begin, mut rows) = (Instant::now(), Vec::new());
    while rows.len() < expected && begin.elapsed() < Duration::from_secs(patience(60)) {
        rows.extend(stream.drain(3).iter().filter_map(|line| row(line)));
    }
    // Rows beyond the expected ones may come late.
    rows.extend(stream.drain(3).iter().filter_map(|line| row(line)));
    rows
}

/// The latest rows of a namespace, read without following them: its pods may send requests meanwhile.
#[track_caller]
pub fn latest_rows(kubectl: &Kubectl, namespace: &str) -> Vec<Row> {
    let words = ["requests", "-n", namespace, "--since", "1h", "--limit", "5000", "-o", "json"];
    json_lines(trilobite(kubectl, &words)).into_iter().filter_map(row_of).collect()
}

fn row(line: &str) -> Option<Row> {
    row_of(serde_json::from_str(line).ok()?)
}

fn row_of(mut object: Value) -> Option<Row> {
    let request = object["request"].take();
    let object = if request.is_null() { object } else { request };
    object["protocol"].is_string().then_some(Row { object })
}

/// The rows of servers (`server`) or of clients (`client`).
pub fn of_role<'a>(rows: &'a [Row], role: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.text("role") == role).collect()
}

/// Rows of each connection, in the order in which their requests began.
pub fn by_connection(rows: &[&Row]) -> Vec<Vec<String>> {
    let mut connections: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        connections.entry(row.text("connection")).or_default().push(row);
    }
    let mut sequences: Vec<Vec<String>> =
        connections.into_values().map(|rows| rows.into_iter().map(Row::words).collect()).collect();
    sequences.sort();
    sequences
}

/// Fails with the first difference of two lists that should have the same entries.
#[track_caller]
pub fn assert_same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &[T], expected: &[T]) {
    let differs = seen.iter().zip(expected).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!("{what}: entry {at} is {:?}, and not {:?}", seen[at], expected[at]);
    }
    assert_eq!(seen.len(), expected.len(), "{what}: all that both have is the same");
}
