//! `trilobite tunnel`: one port for all nodes, and a line for the shell.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use trilobite_api::{
    observer::{
        GetFlowsRequest, ServerStatusRequest, get_flows_response::ResponseTypes, observer_client::ObserverClient,
    },
    tetragon::{GetEventsRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient},
};

use crate::{
    api_server::TestCluster,
    fake_agent::{exec_in, flow_at},
};

/// Ended when it is dropped.
struct Tunnel {
    child: Child,
    port: u16,
    /// The line for the shell.
    printed: String,
}

impl Tunnel {
    fn start(cluster: &TestCluster, words: &[&str]) -> Self {
        let mut child = cluster.command(words).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim_end().strip_prefix("export HUBBLE_SERVER=localhost:");
        let port = port.and_then(|rest| rest.strip_suffix(" HUBBLE_COMPAT=legacy-json-output"));
        let port = port.unwrap_or_else(|| panic!("not for a shell: {line}")).parse().unwrap();
        Self { child, port, printed: line }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cluster() -> TestCluster {
    let cluster = TestCluster::new(&["alder", "birch"]);
    cluster.agents["alder"].lock().flows = vec![flow_at(30), flow_at(10)];
    cluster.agents["birch"].lock().flows = vec![flow_at(20)];
    cluster.agents["alder"].lock().events = vec![exec_in("shop", "till-1")];
    cluster.agents["birch"].lock().events = vec![exec_in("shop", "till-2")];
    cluster
}

#[tokio::test]
async fn all_nodes_answer_behind_one_port() {
    let cluster = cluster();
    let tunnel = Tunnel::start(&cluster, &["tunnel"]);
    let mut observer = ObserverClient::connect(tunnel.address()).await.unwrap();
    let request = GetFlowsRequest { number: 2, ..GetFlowsRequest::default() };
    let flows: Vec<_> = observer.get_flows(request).await.unwrap().into_inner().try_collect().await.unwrap();
    let times: Vec<i64> = flows.iter().map(|flow| flow.time.unwrap().seconds).collect();
    assert_eq!(times, [20, 30], "the latest two of all nodes, in the order of time");
    assert!(flows.iter().all(|flow| matches!(flow.response_types, Some(ResponseTypes::Flow(_)))));
    let status = observer.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.num_connected_nodes, status.num_unavailable_nodes), (3, Some(2), Some(0)));

    let mut sensors = FineGuidanceSensorsClient::connect(tunnel.address()).await.unwrap();
    let events = sensors.get_events(GetEventsRequest::default()).await.unwrap().into_inner();
    let two: Vec<_> = events.take(2).try_collect().await.unwrap();
    assert_eq!(two.len(), 2, "one of each node");
}

#[tokio::test]
async fn filter_that_an_agent_refuses_is_refused_by_name() {
    let cluster = cluster();
    for node in ["alder", "birch"] {
        cluster.agents[node].lock().refuses = Some("whitelist[0].verdict: DROPPED is not there");
    }
    let tunnel = Tunnel::start(&cluster, &["tunnel", "--port", "0"]);
    let mut observer = ObserverClient::connect(tunnel.address()).await.unwrap();
    let refusal = observer.get_flows(GetFlowsRequest::default()).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    assert!(refusal.message().contains("whitelist[0].verdict"), "{}", refusal.message());
}

#[tokio::test]
async fn one_node_is_forwarded_as_it_is() {
    let cluster = cluster();
    let tunnel = Tunnel::start(&cluster, &["tunnel", "birch"]);
    let mut observer = ObserverClient::connect(tunnel.address()).await.unwrap();
    let flows: Vec<_> =
        observer.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner().try_collect().await.unwrap();
    assert_eq!(flows.len(), 1);
}

/// The real client; none where it was not built, unless it is required.
fn client(name: &str) -> Option<Command> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache/bin").join(name);
    if found.exists() {
        return Some(Command::new(found));
    }
    assert!(std::env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{} is not there", found.display());
    eprintln!("not tried: {} is not there; `make cache` builds it", found.display());
    None
}

#[test]
fn the_real_hubble_reads_all_nodes_by_the_variables() {
    let Some(mut status) = client("hubble") else { return };
    let cluster = cluster();
    let tunnel = Tunnel::start(&cluster, &["tunnel"]);
    let server = format!("localhost:{}", tunnel.port);
    let variables = [("HUBBLE_SERVER", server.as_str()), ("HUBBLE_COMPAT", "legacy-json-output")];
    let status = status.arg("status").envs(variables).output().unwrap();
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains(": Ok") && text.contains("Connected Nodes: 2"), "{text}{status:?}");
    let observed = client("hubble").unwrap().args(["observe", "-o", "json", "--last", "2"]).envs(variables).output();
    let observed = observed.unwrap();
    let text = String::from_utf8_lossy(&observed.stdout).into_owned();
    let flows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(flows.len(), 2, "{observed:?}");
    // As `jq .source.pod_name` of the first years: the flow is the object itself.
    assert!(flows.iter().all(|flow| flow["source"]["pod_name"] == "till-1"), "{text}");
}

#[test]
fn the_first_line_of_jq_works_with_the_variables_of_the_tunnel() {
    let Some(hubble) = client("hubble") else { return };
    if Command::new("jq").arg("--version").output().is_err() {
        return eprintln!("not tried: jq is not installed");
    }
    let cluster = cluster();
    let tunnel = Tunnel::start(&cluster, &["tunnel"]);
    let line = r#"hubble observe --namespace shop --output json --last 50000 \
        | jq -r '[.source.namespace + "/" + .source.pod_name, .destination.namespace + "/" + .destination.pod_name] | @tsv' \
        | sort | uniq"#;
    let clients = PathBuf::from(hubble.get_program()).parent().unwrap().display().to_string();
    let script = format!("PATH={clients}:$PATH\n{}\n{line}\n", tunnel.printed);
    let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "shop/till-1\tshop/shelf-1\n", "{output:?}");
}

#[test]
fn the_real_tetra_reads_events_of_all_nodes() {
    let Some(mut tetra) = client("tetra") else { return };
    let cluster = cluster();
    let tunnel = Tunnel::start(&cluster, &["tunnel"]);
    let server = format!("localhost:{}", tunnel.port);
    let words = ["--server-address", &server, "getevents", "-o", "compact", "--color", "never"];
    let mut tetra = tetra.args(words).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(tetra.stdout.take().unwrap()).lines().map_while(Result::ok).take(2);
    let mut lines: Vec<String> = lines.collect();
    let _ = tetra.kill();
    let _ = tetra.wait();
    lines.sort();
    let pods: Vec<bool> = ["till-1", "till-2"].iter().zip(&lines).map(|(pod, line)| line.contains(pod)).collect();
    assert_eq!(pods, [true, true], "{lines:?}");
}
