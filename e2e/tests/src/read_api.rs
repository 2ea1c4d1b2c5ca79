//! The read API of the cluster, and what agents count of it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;
use trilobite_cluster::workspace_root;

use crate::{
    Kubectl, eventually,
    fixture::{NAMESPACE, condition},
};

/// Where the API is served.
pub const API: &str = "/apis/read.trilobite.dev/v1alpha1";
/// Its APIService.
pub const API_SERVICE: &str = "v1alpha1.read.trilobite.dev";

/// Waits until the API is registered and answers.
#[track_caller]
pub fn wait_until_served(kubectl: &Kubectl) {
    eventually("the read API is served", 120, || {
        let service = kubectl.get(&["apiservice", API_SERVICE])?;
        let available = condition(&service, "Available").is_some_and(|one| one["status"] == "True");
        if !available {
            return Err(format!("{:#}", service["status"]));
        }
        kubectl.ask(&["get", "--raw", API]).map(drop)
    });
}

/// A path of the API, as a user reads it.
pub fn read(kubectl: &Kubectl, path: &str) -> Result<Value, String> {
    let text = kubectl.ask(&["get", "--raw", &format!("{API}/{path}")])?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// The items of a list once `wanted` says yes to one of them, and their namespaces.
#[track_caller]
pub fn rows_until(kubectl: &Kubectl, path: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually(&format!("{path} has the row"), 60, || {
        let list = read(kubectl, path)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        if items.iter().any(&wanted) { Ok(items) } else { Err(format!("{} rows, {:#}", items.len(), list["coverage"])) }
    })
}

/// The page about the API.
pub fn page() -> String {
    fs::read_to_string(workspace_root().join("docs/read-api.md")).unwrap()
}

/// The tables that kubectl prints of a resource, without and with `-o wide`; their columns are those of the page.
#[track_caller]
pub fn documented_tables(kubectl: &Kubectl, namespace: &str, resource: &str) -> [String; 2] {
    let (all, narrow) = documented_columns(&page(), resource);
    let name = format!("{resource}.read.trilobite.dev");
    [(&[][..], narrow), (&["-o", "wide"][..], all)].map(|(options, expected)| {
        let table = kubectl.run(&[&["-n", namespace, "get", &name], options].concat());
        let header: Vec<String> =
            table.lines().next().unwrap_or_default().split_whitespace().map(String::from).collect();
        assert_eq!(header, expected, "{resource} {options:?}:\n{table}");
        table
    })
}

/// Columns of a resource as the page lists them: all, and those of the narrow table.
#[track_caller]
fn documented_columns(page: &str, resource: &str) -> (Vec<String>, Vec<String>) {
    let (_, section) = page.split_once("\n## Columns\n").unwrap();
    let prefix = format!("| `{resource}` | ");
    let row = section.lines().find_map(|line| line.strip_prefix(&prefix)).expect("a row of the resource");
    let all: Vec<&str> = row.trim_end_matches(" |").split(", ").collect();
    let name = |column: &&str| column.trim_matches(['[', ']']).to_uppercase();
    let narrow = all.iter().filter(|column| !column.starts_with('[')).map(name).collect();
    (all.iter().map(name).collect(), narrow)
}

/// Rows that a node's agent has sent and withheld, of one resource: `events`, `flows` or `profiles`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows that were sent.
    pub sent: u64,
    /// Rows that the scope of a call did not allow.
    pub withheld: u64,
}

impl RowCounts {
    /// From the agent's `/metrics`, which the stack has to enable on this port.
    #[track_caller]
    pub fn of_node(kubectl: &Kubectl, node: &str, port: u16, resource: &str) -> Self {
        let text = metrics(kubectl, node, port);
        let count = |result: &str| {
            let series = format!("trilobite_read_rows_total{{resource=\"{resource}\",result=\"{result}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no {series} in\n{text}"))
        };
        Self { sent: count("sent"), withheld: count("withheld") }
    }
}

/// What became of the rows of one resource in the relay, of which there must be one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayRows {
    /// Rows that agents sent.
    pub received: u64,
    /// Rows that clients got.
    pub delivered: u64,
    /// Rows that did not fit, or whose client left.
    pub lost: u64,
}

impl RelayRows {
    /// From the relay's `/metrics`.
    #[track_caller]
    pub fn read(kubectl: &Kubectl, resource: &str) -> Self {
        let (selector, newest) = ("app.kubernetes.io/name=trilobite-relay", "--sort-by=.metadata.creationTimestamp");
        let names = kubectl.run(&["-n", NAMESPACE, "get", "pods", "-l", selector, newest, "-o", "name"]);
        // An older one may still be ending.
        let pod = names.lines().last().expect("a pod of the relay").trim_start_matches("pod/");
        let text =
            kubectl.run(&["get", "--raw", &format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics")]);
        // A series begins with its first row.
        let count = |result: &str| {
            let series = format!("trilobite_relay_rows_total{{resource=\"{resource}\",result=\"{result}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)?.trim().parse().ok()).unwrap_or_default()
        };
        Self { received: count("received"), delivered: count("delivered"), lost: count("lost") }
    }

    /// What came since an earlier reading of the same relay.
    pub fn since(self, before: Self) -> Self {
        Self {
            received: self.received - before.received,
            delivered: self.delivered - before.delivered,
            lost: self.lost - before.lost,
        }
    }
}

/// `/metrics` of a node's agent.
#[track_caller]
pub fn metrics(kubectl: &Kubectl, node: &str, port: u16) -> String {
    let address = node_address(kubectl, node);
    eventually("the agent serves its metrics", 60, || http_get(&address, port, "/metrics"))
}

/// The page of metrics at a node's port, or why there is none now.
pub fn page_of_node(kubectl: &Kubectl, node: &str, port: u16) -> Result<String, String> {
    http_get(&node_address(kubectl, node), port, "/metrics")
}

/// The InternalIP of a node.
#[track_caller]
pub fn node_address(kubectl: &Kubectl, node: &str) -> String {
    let path = "-o=jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
    let addresses = kubectl.run(&["get", "node", node, path]);
    addresses.split_whitespace().next().expect("an InternalIP").to_owned()
}

fn http_get(address: &str, port: u16, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((address, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().map_err(|error| format!("{address}:{port}: {error}"))?;
    if text.starts_with("HTTP/1.1 200") { Ok(text) } else { Err(text) }
}

/// Whether something listens on a node's port.
pub fn is_open(address: &str, port: u16) -> bool {
    TcpStream::connect((address, port)).is_ok()
}
