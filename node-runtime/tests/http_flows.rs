//! HTTP as flows in this machine's kernel: an agent whose stack sees flows and whose AppProfile traces HTTP, asked as Hubble's clients
//! ask. Needs root, python3 and curl: `cargo build -p trilobite-worker && cargo test -p trilobite-node --test http_flows -- --ignored`.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use serde_json::Value;

/// More than any answer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Is in no flow.
const SECRET: &str = "anglerfish";
/// Answers with the status that is the first part of the path.
const SERVER: &str = r"
import http.server, sys
class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.send_response(int(self.path.split('/')[1]))
        self.send_header('Content-Length', '0')
        self.end_headers()
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Server).serve_forever()
";

/// A process that is killed when it is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().with_file_name("trilobite-worker");
    std::env::var_os("TRILOBITE_WORKER").map_or_else(beside, PathBuf::from)
}

fn resources(port: u16) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: {{name: default}}\nspec:\n  \
         network: {{mode: Enabled}}\n---\n\
         apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: slow, namespace: shop}}\nspec:\n  \
         podSelector: {{}}\n  durationSeconds: 600\n  requests: {{protocols: [http], ports: [{port}]}}\n"
    )
}

struct Agent {
    socket: PathBuf,
    _process: Started,
}

impl Agent {
    fn start(folder: &Path, port: u16) -> Self {
        let (yaml, socket) = (folder.join("resources.yaml"), folder.join("agent.sock"));
        fs::write(&yaml, resources(port)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trilobite-node"));
        command.args(["run", "-f", yaml.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
        command.args(["--state-dir", folder.join("state").to_str().unwrap()]).env("TRILOBITE_WORKER", worker());
        command.stdout(fs::File::create(folder.join("events")).unwrap());
        let process = Started(command.spawn().unwrap());
        Self { socket, _process: process }
    }

    /// The flows that the agent's own `hubble observe` prints.
    fn observe(&self, words: &[&str]) -> Vec<Value> {
        let mut hubble = Command::new(env!("CARGO_BIN_EXE_trilobite-node"));
        hubble.arg0("hubble").args(["observe", "--all", "-o", "json", "--server"]);
        hubble.arg(format!("unix://{}", self.socket.display())).args(words);
        let printed = String::from_utf8(hubble.output().unwrap().stdout).unwrap();
        printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["flow"].clone()).collect()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks for as many items of this status in one connection.
fn ask(port: u16, status: u16, items: usize) -> bool {
    let url = format!("http://127.0.0.1:{port}/{status}/[1-{items}]?token={SECRET}");
    Command::new("curl").args(["--silent", "-o", "/dev/null", &url]).status().unwrap().success()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn paths(flows: &[Value]) -> Vec<String> {
    let path = |flow: &Value| {
        let url = flow["l7"]["http"]["url"].as_str().unwrap();
        url.splitn(4, '/').nth(3).unwrap().split('?').next().unwrap().to_owned()
    };
    let mut paths: Vec<String> = flows.iter().map(path).collect();
    paths.sort();
    paths
}

#[test]
#[ignore = "needs root"]
fn each_request_is_two_flows_as_hubbles_clients_ask_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = Started(Command::new("python3").args(["-c", SERVER, &port.to_string()]).spawn().unwrap());
    wait_until("the server answers", || ask(port, 200, 1));
    let agent = Agent::start(folder.path(), port);
    let of_port = port.to_string();
    wait_until("the first request is a flow", || {
        ask(port, 204, 1);
        !agent.observe(&["--http-status", "204", "--port", &of_port]).is_empty()
    });
    assert!(ask(port, 200, 20) && ask(port, 503, 5));

    let items = |status: u16, count: usize| {
        let mut paths: Vec<String> = (1..=count).map(|item| format!("{status}/{item}")).collect();
        paths.sort();
        paths
    };
    // Both ends are this machine's, and the profile traces both.
    for role in ["EGRESS", "INGRESS"] {
        for (status, expected) in [("200", items(200, 20)), ("5+", items(503, 5))] {
            let of_role = || {
                let mut flows = agent.observe(&["--http-status", status, "--from-port", &of_port]);
                flows.retain(|flow| flow["traffic_direction"] == role);
                flows
            };
            wait_until("all responses are there", || of_role().len() >= expected.len());
            assert_eq!(paths(&of_role()), expected, "{role} {status}");
        }
    }
    let failed = agent.observe(&["--protocol", "http", "--http-path", "^/503/3$", "--port", &of_port]);
    assert_eq!(failed.len(), 4, "{failed:#?}");
    for flow in &failed {
        let is_reply = flow["is_reply"] == true;
        assert_eq!(flow["l7"]["type"], if is_reply { "RESPONSE" } else { "REQUEST" });
        assert_eq!(flow["l7"]["http"]["method"], "GET");
        assert_eq!(flow["l7"]["latency_ns"].is_string(), is_reply, "{flow:#}");
        assert_eq!((&flow["Type"], &flow["verdict"]), (&"L7".into(), &"FORWARDED".into()));
        assert_eq!(flow["event_type"]["type"], 129);
        let url = format!("http://127.0.0.1:{port}/503/3?token=<redacted>");
        assert_eq!(flow["l7"]["http"]["url"], url);
        let server = if is_reply { "source_port" } else { "destination_port" };
        assert_eq!(flow["l4"]["TCP"][server], port);
    }
    let [one, other] = &failed[..2] else { panic!() };
    assert_eq!(one["extensions"]["connection"], other["extensions"]["connection"]);
    assert!(!serde_json::to_string(&agent.observe(&["--protocol", "http"])).unwrap().contains(SECRET));
}
