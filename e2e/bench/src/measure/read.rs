//! The read API on the two-node cluster, where it runs: what its port costs an agent, the relay's memory, and how soon a list of
//! both nodes begins.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use trilobite_cluster::{Cluster, command::output, default_folder};

use crate::{
    bench::{Bench, absent},
    process::{Memory, agents_of_a_daemonset, relays},
    samples::Samples,
    table::{Goal, Line},
    waiting::poll,
};

/// After this time nothing is still on its way.
const SETTLE: Duration = Duration::from_secs(8);
/// How often the port is opened.
const TURNS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const RELAY: Goal = Goal(20.0);
const PORT: Goal = Goal(1.0);
const FIRST_ROW: Goal = Goal(200.0);
/// What makes the cluster.
const CLUSTER: &str = "`make cluster-up`, the charts, then `e2e/bench/run.sh read`";
const NAMESPACE: &str = "trilobite-system";
const API: &str = "/apis/read.trilobite.dev/v1alpha1";
const STACK: [&str; 2] = ["observabilitystack", "default"];

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let cluster = match Cluster::open(&default_folder(false)) {
        Ok(cluster) if !agents_of_a_daemonset().is_empty() => cluster,
        _ => {
            eprintln!(
                "no two-node cluster with agents runs: the read API is not measured (`make cluster-up`, `make demo`)"
            );
            return Vec::new();
        }
    };
    on_cluster(bench, &cluster).unwrap_or_else(|error| vec![absent("the read API", &error, CLUSTER)])
}

fn on_cluster(bench: &Bench, cluster: &Cluster) -> Result<Vec<Line>> {
    let stack = StackUnderTest::read(cluster)?;
    let idle = |relay: &str| {
        let layer = json!({"mode": "OnDemand"});
        json!({"security": layer, "network": layer, "application": layer, "relay": {"mode": relay}})
    };
    stack.set(&idle("Disabled"))?;
    // New processes: what an earlier run has used is not given back.
    kubectl(cluster, &["-n", NAMESPACE, "rollout", "restart", "daemonset/trilobite-node"])?;
    kubectl(cluster, &["-n", NAMESPACE, "rollout", "status", "daemonset/trilobite-node", "--timeout=120s"])?;
    stack.wait_until_ready()?;
    thread::sleep(SETTLE);
    let mut port = PortMemory::default();
    for turn in 0..TURNS {
        if turn > 0 {
            stack.set(&idle("Disabled"))?;
            stack.wait_until_ready()?;
            thread::sleep(SETTLE);
        }
        let agents = agents_of_a_daemonset();
        let closed = agents.iter().map(|pid| Memory::of(*pid)).collect::<Result<Vec<_>>>()?;
        stack.set(&idle("Enabled"))?;
        stack.wait_until_served()?;
        // The relay is connected to every agent after it.
        kubectl(cluster, &["get", "--raw", &format!("{API}/nodes")])?;
        thread::sleep(SETTLE);
        for (pid, closed) in agents.iter().zip(closed) {
            port.add(turn == 0, &closed, &Memory::of(*pid)?);
        }
    }
    let mut relay = Samples::default();
    for pid in relays() {
        relay.add(mebibytes(Memory::of(pid)?.rss_kib));
    }
    ensure!(relay.runs() > 0, "the relay runs on no node of this machine");

    stack.set(&json!({"network": {"mode": "Enabled"}, "relay": {"mode": "Enabled"}}))?;
    stack.wait_until_ready()?;
    let first_row = first_rows(bench, cluster)?;
    Ok(vec![
        Line::median("RSS of the relay, idle, connected to two agents", &relay, 1, "MiB", CLUSTER)
            .at_most(RELAY, &relay),
        Line::median("RSS of an agent for its port to the relay", &port.rss, 2, "MiB", CLUSTER)
            .at_most(PORT, &port.rss),
        Line::median("the same, anonymous memory", &port.anonymous, 2, "MiB", CLUSTER),
        Line::median("pages of the agent's file that its first port maps", &port.first_file, 2, "MiB", CLUSTER),
        Line::median("first row of a list of flows of two nodes", &first_row, 1, "ms", CLUSTER)
            .at_most(FIRST_ROW, &first_row),
    ])
}

fn kubectl(cluster: &Cluster, words: &[&str]) -> Result<String> {
    Ok(output(cluster.kubectl().args(words))?)
}

fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// What agents have more with an open port than with a closed one, in MiB. The first port of a process maps the code of TLS, whose
/// pages are the file's and stay: they are counted apart.
#[derive(Default)]
struct PortMemory {
    rss: Samples,
    anonymous: Samples,
    first_file: Samples,
}

impl PortMemory {
    fn add(&mut self, is_first: bool, closed: &Memory, open: &Memory) {
        let more = |of: fn(&Memory) -> u64| mebibytes(of(open)) - mebibytes(of(closed));
        let file = more(|memory| memory.rss_kib - memory.anonymous_kib);
        if is_first {
            self.first_file.add(file);
        } else {
            self.rss.add(more(|memory| memory.rss_kib));
        }
        self.anonymous.add(more(|memory| memory.anonymous_kib));
    }
}

/// The cluster's stack, which has its spec again at the end.
struct StackUnderTest<'a> {
    cluster: &'a Cluster,
    spec: Value,
}

impl<'a> StackUnderTest<'a> {
    fn read(cluster: &'a Cluster) -> Result<Self> {
        let text = kubectl(cluster, &["get", STACK[0], STACK[1], "-o", "json"])?;
        let object: Value = serde_json::from_str(&text).context("reading the stack")?;
        Ok(Self { cluster, spec: object["spec"].clone() })
    }

    /// Changes fields of the spec.
    fn set(&self, fields: &Value) -> Result<()> {
        let patch = json!({ "spec": fields }).to_string();
        kubectl(self.cluster, &["patch", STACK[0], STACK[1], "--type=merge", "-p", &patch]).map(drop)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let is_ready = || {
            let text = kubectl(self.cluster, &["get", STACK[0], STACK[1], "-o", "json"]).unwrap_or_default();
            let object: Value = serde_json::from_str(&text).unwrap_or_default();
            let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
                && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        ensure!(poll(PATIENCE, Duration::from_secs(1), is_ready), "the stack is not ready within {PATIENCE:?}");
        Ok(())
    }

    fn wait_until_served(&self) -> Result<()> {
        let is_served = || kubectl(self.cluster, &["get", "--raw", &format!("{API}/nodes")]).is_ok();
        ensure!(poll(PATIENCE, Duration::from_secs(1), is_served), "{API} is not served within {PATIENCE:?}");
        Ok(())
    }
}

impl Drop for StackUnderTest<'_> {
    fn drop(&mut self) {
        let patch = json!([{"op": "replace", "path": "/spec", "value": self.spec}]).to_string();
        if let Err(error) = kubectl(self.cluster, &["patch", STACK[0], STACK[1], "--type=json", "-p", &patch]) {
            eprintln!("the stack has not its spec again: {error:#}");
        }
    }
}

/// `kubectl proxy`, so that no start of a client is in the time.
struct Proxy {
    child: Child,
    address: String,
}

impl Proxy {
    fn start(cluster: &Cluster) -> Result<Self> {
        let mut command: Command = cluster.kubectl();
        command.args(["proxy", "--port=0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting kubectl proxy")?;
        let mut line = String::new();
        let out = child.stdout.take().context("kubectl proxy has no standard output")?;
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Self { child, address })
    }

    /// Milliseconds until the first row, and the whole answer.
    fn first_row(&self, path: &str) -> Result<(f64, String)> {
        let mut stream =
            TcpStream::connect(&self.address).with_context(|| format!("connecting to {}", self.address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Of this version there are no chunks, whose lengths would stand between the bytes.
        let begin = Instant::now();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n")?;
        let (mut answer, mut chunk, mut first) = (Vec::new(), [0; 16384], None);
        loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            answer.extend_from_slice(&chunk[..read]);
            if first.is_none() && contains(&answer, b"\"kind\":\"Flow\"") {
                first = Some(begin.elapsed().as_secs_f64() * 1000.0);
            }
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        Ok((first.with_context(|| format!("the list has no row: {text:.300}"))?, text))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

fn first_rows(bench: &Bench, cluster: &Cluster) -> Result<Samples> {
    let proxy = Proxy::start(cluster)?;
    let path = format!("{API}/flows?limit=100");
    // The relay's own connections are flows, a few seconds after the layer is on.
    let has_rows = || proxy.first_row(&path).is_ok();
    ensure!(poll(PATIENCE, Duration::from_secs(1), has_rows), "no flow within {PATIENCE:?}");
    let mut samples = Samples::default();
    for _ in 0..bench.runs {
        let (milliseconds, text) = proxy.first_row(&path)?;
        ensure!(text.contains("\"answered\":2"), "not both nodes have answered: {text:.300}");
        samples.add(milliseconds);
    }
    Ok(samples)
}
