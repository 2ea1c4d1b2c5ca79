//! The unmodified `hubble-relay` before one agent: it finds the agent by the address that the agent gives, and serves what the
//! agent serves. Needs root, a kernel from 6.6 on, and the clients (`make cache`):
//! `cargo test -p trilobite-node --test relay -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod node_and_pod;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use node_and_pod::NodeAndPod;

const RELAY: &str = "127.0.0.1:14245";

const ALL_FLOWS: &str = "\
apiVersion: trilobite.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: default}
spec: {security: {mode: Disabled}, network: {mode: Enabled}, application: {mode: Disabled}}
";

/// Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// None where it was not built, unless it is required.
fn client(name: &str) -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache/bin").join(name);
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{} is not there", found.display());
    eprintln!("not tested: {} is not there; `make cache` builds it", found.display());
    None
}

/// An agent in a container's place: it sees `folder` at `inside`, and its socket there.
fn agent(folder: &Path, inside: &Path) -> Running {
    let resources = folder.join("stack.yaml");
    fs::write(&resources, ALL_FLOWS).unwrap();
    let script = "mount --make-rprivate / && mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(folder).arg(inside);
    command.arg(env!("CARGO_BIN_EXE_trilobite-node")).arg("run").arg("-f").arg(&resources);
    command.arg("--socket").arg(inside.join("agent.sock")).arg("--state-dir").arg(folder.join("state"));
    command.args(["--node-name", "n1"]).stdout(Stdio::null());
    Running(command.spawn().unwrap())
}

fn hubble(program: &Path, server: &str, words: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(words).args(["--server", server]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// Repeats a request until its answer is as wanted.
fn eventually(what: &str, mut ask: impl FnMut() -> Result<String, String>, wanted: impl Fn(&str) -> bool) -> String {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = ask();
        match &answer {
            Ok(text) if wanted(text) => return text.clone(),
            _ => assert!(Instant::now() < give_up, "{what}: {answer:?}"),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs root"]
fn relay_finds_the_agent_at_its_path_on_the_node() {
    let (Some(relay), Some(program)) = (client("hubble-relay"), client("hubble")) else { return };
    let link = NodeAndPod::new();
    link.up();
    let folder = std::env::temp_dir().join(format!("trilobite-relay-{}", std::process::id()));
    let inside = folder.with_extension("inside");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(&inside).unwrap();
    let socket = format!("unix://{}", folder.join("agent.sock").display());
    let agent = agent(&folder, &inside);
    let ask = |server: &str, words: &[&str]| hubble(&program, server, words);
    eventually("the agent", || ask(&socket, &["status"]), |text| text.contains("Healthcheck"));

    let mut command = Command::new(relay);
    command.args(["serve", "--disable-client-tls", "--disable-server-tls", "--retry-timeout", "1s"]);
    command.args(["--listen-address", RELAY, "--health-listen-address", "127.0.0.1:14222"]);
    let relay = Running(command.args(["--peer-service", &socket]).stdout(Stdio::null()).spawn().unwrap());
    eventually("status", || ask(RELAY, &["status"]), |text| text.contains("Connected Nodes: 1/1"));
    let nodes = eventually("list nodes", || ask(RELAY, &["list", "nodes"]), |text| text.contains("Connected"));
    assert!(nodes.contains("n1"), "{nodes}");

    link.udp(0, &[100, 200]);
    let observe = ["observe", "--last", "100", "-o", "json", "--protocol", "udp"];
    let flows = eventually("observe", || ask(RELAY, &observe), |text| text.contains(r#""UDP":{"#));
    assert!(flows.contains(r#""node_name":"n1""#), "{flows}");

    let follow = ["observe", "--follow", "-o", "json", "--protocol", "udp", "--server", RELAY];
    let mut follow = Running(Command::new(&program).args(follow).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    thread::spawn(move || {
        // The stream begins a moment after the client has been started.
        for _ in 0..20 {
            link.udp(1, &[300]);
            thread::sleep(Duration::from_millis(500));
        }
    });
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains(r#""UDP":{"#)));
    assert!(line.is_some_and(|line| line.contains("fd00:254:7")));
    drop((follow, relay, agent));
    for folder in [folder, inside] {
        fs::remove_dir_all(folder).unwrap();
    }
}
