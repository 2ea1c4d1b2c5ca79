//! Real servers and clients of Debian in pods, and the rows that the product makes of what they say to each other.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use trilobite_cluster::{Cache, workspace_root};

use crate::{
    Fixture, Kubectl,
    clients::{Stream, json_lines, succeed, trilobite},
    eventually,
    wait::{patience, that},
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
        let Self { namespace, name, node, user, .. } = self;
        let script: String =
            std::iter::once(PATH).chain(self.script.lines()).map(|line| format!("        {line}\n")).collect();
        fixture.kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\nspec:\n  \
             nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  securityContext: {{runAsUser: {user}}}\n  containers:\n  \
             - name: main\n    image: localhost/trilobite-servers:1\n    imagePullPolicy: Never\n    command:\n    - sh\n    - -c\n    \
             - |\n{script}"
        ));
        let timeout = format!("--timeout={}s", patience(120));
        fixture.kubectl.run(&["-n", namespace, "wait", "--for=condition=Ready", &timeout, &format!("pod/{name}")]);
    }
}

/// Imports the image of servers on both nodes, once.
fn import(fixture: &Fixture) {
    static IMPORTED: OnceLock<()> = OnceLock::new();
    IMPORTED.get_or_init(|| {
        let archive = Cache::from_environment().servers_archive().unwrap();
        let tools = std::env::var_os("TRILOBITE_TOOLS")
            .map_or_else(|| workspace_root().join("target/x86_64-unknown-linux-gnu/debug"), Into::into);
        succeed(Command::new(tools.join("trilobite-cluster")).arg("load").arg(archive));
        fixture.kubectl.run(&["get", "nodes"]);
    });
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

/// Makes an AppProfile of every pod of a namespace, and waits until it is active.
#[track_caller]
pub fn profile(kubectl: &Kubectl, namespace: &str, requests: &str) {
    let spec = format!("podSelector: {{}}, requests: {requests}, durationSeconds: 1800, memoryBudgetBytes: 67108864");
    start_profile(kubectl, namespace, "requests", &spec);
}

/// Makes an AppProfile with this spec (fields in flow style), and waits until it is active.
#[track_caller]
pub fn start_profile(kubectl: &Kubectl, namespace: &str, name: &str, spec: &str) {
    kubectl.apply(&profile_yaml(namespace, name, spec));
    eventually("the profile is active on both nodes", 60, || {
        let object = kubectl.get(&["-n", namespace, "appprofile", name])?;
        let active = crate::fixture::condition(&object, "Ready").is_some_and(|ready| ready["status"] == "True");
        that(active, format!("{:#}", object["status"]))
    });
}

/// An AppProfile with this spec.
pub fn profile_yaml(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: \
         {{{spec}}}\n"
    )
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
    // What should not be there comes late too.
    rows.extend(stream.drain(3).iter().filter_map(|line| row(line)));
    rows
}

/// The latest rows of a namespace, whose pods may go on: what is printed without following.
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

/// Rows of each connection, in the order in which their requests began.
pub fn by_connection(rows: &[Row]) -> Vec<Vec<String>> {
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
