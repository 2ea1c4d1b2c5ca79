//! HTTP/2 and gRPC in this machine's kernel: nghttpd with h2load and nghttp, and tonic at both ends. Needs root, nghttp2's server
//! and clients, and the worker's binary: `cargo build -p trilobite-worker && cargo test -p trilobite-node --test http2_requests --
//! --ignored`.

#![allow(clippy::unwrap_used)]

mod grpc_ends;
#[allow(dead_code, reason = "other tests use more of it")]
mod request_node;
#[allow(dead_code, reason = "other tests use more of it")]
mod tls_programs;

use std::{collections::BTreeMap, fs, process::Command};

use request_node::{PORT, REQUESTS, RequestNode, free_port, requests_on};
use tls_programs::{Started, wait_until_it_listens};
use trilobite_crds::{app_profile::RequestProtocol, node::RequestsSession};
use trilobite_node::plan::UnitKey;
use trilobite_worker_wire::RequestRow;

/// nghttpd on a node, with one small file and one large file.
struct Server {
    port: u16,
    _folder: tempfile::TempDir,
    _process: Started,
}

impl Server {
    async fn start(node: &RequestNode, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("small"), "ok").unwrap();
        fs::write(folder.path().join("large"), vec![b'a'; 300_000]).unwrap();
        let root = folder.path().to_str().unwrap();
        let process = Started(node.start("nghttpd", &["--no-tls", "-d", root, &port.to_string()]));
        wait_until_it_listens(port).await;
        Self { port, _folder: folder, _process: process }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Sends requests for three paths in turns, so many at a time on each of two connections.
    async fn load(&self, node: &RequestNode, requests: usize, at_a_time: usize) {
        let (requests, at_a_time) = (requests.to_string(), at_a_time.to_string());
        let urls = ["/small", "/none", "/small?token=anglerfish"].map(|path| self.url(path));
        let options = ["-n", requests.as_str(), "-c", "2", "-m", at_a_time.as_str(), "-H", "authorization: anglerfish"];
        let arguments: Vec<&str> = options.into_iter().chain(urls.iter().map(String::as_str)).collect();
        assert!(Started(node.start("h2load", &arguments)).ended().await.success());
    }
}

/// How often each of these was seen: role, protocol, operation, target, status.
fn counted(rows: &[RequestRow]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let role = if row.client { "client" } else { "server" };
        let line = format!("{role} {} {} {} {}", row.protocol, row.operation, row.target, row.status);
        *counts.entry(line).or_default() += 1;
    }
    counts
}

/// The same number of each line for both roles.
fn of_both_roles(lines: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let of_role = |role: &'static str| lines.iter().map(move |(line, count)| (format!("{role} {line}"), *count));
    of_role("client").chain(of_role("server")).collect()
}

fn column<'a>(row: &'a RequestRow, name: &str) -> Option<&'a str> {
    row.columns.iter().find(|column| column.0 == name).map(|column| column.1.as_str())
}

/// Requests that were sent are rows, or counted as lost, of which there are at most so many.
async fn assert_all_are_counted(node: &mut RequestNode, key: &UnitKey, sent: usize, lost_max: usize) {
    let rows = |node: &RequestNode| node.state(key).rows.iter().map(|it| it.rows).sum::<u64>();
    let lost = |node: &RequestNode| node.state(key).lost_parse;
    node.wait_until("rows and losses are those that were sent", |node| rows(node) + lost(node) == sent as u64).await;
    let state = node.state(key);
    assert_eq!((state.lost_ring, state.lost_budget), (0, 0), "{state:?}");
    assert!(state.lost_parse <= lost_max as u64, "{state:?}");
}

#[tokio::test]
#[ignore = "needs root"]
async fn each_stream_of_h2load_is_a_row_of_both_ends() {
    let mut node = RequestNode::new("h2load");
    let port = free_port();
    let key = node.request_with("cart", requests_on(port), 32 << 20);
    node.apply().await;
    let server = Server::start(&node, port).await;
    let mut sent = 0;
    for at_a_time in [1, 10] {
        server.load(&node, 600, at_a_time).await;
        sent += 600;
        node.rows("shop/cart", 2 * sent).await;
    }
    let rows = node.rows_now("shop/cart").await;
    let third = sent / 3;
    let expected = of_both_roles(&[
        ("http2 GET /small 200", third),
        ("http2 GET /none 404", third),
        ("http2 GET /small?token=<redacted> 200", third),
    ]);
    assert_eq!(counted(&rows), expected);
    assert!(rows.iter().all(|row| row.is_error == (row.status == "404") && !row.mid_stream && !row.encrypted));
    assert!(!format!("{rows:?}").contains("anglerfish"));
    assert_all_are_counted(&mut node, &key, 2 * sent, 0).await;
    node.withdraw().await;
}

/// Until the protocol of a connection is known, 4 KiB of each call are read: of a hundred streams at a time some are lost.
#[tokio::test]
#[ignore = "needs root"]
async fn many_streams_at_a_time_are_rows_or_counted() {
    let mut node = RequestNode::new("streams");
    let port = free_port();
    let key = node.request_with("cart", requests_on(port), 64 << 20);
    node.apply().await;
    let server = Server::start(&node, port).await;
    let sent = 12_000;
    server.load(&node, sent, 100).await;
    assert_all_are_counted(&mut node, &key, 2 * sent, 2 * sent).await;
    let counts = counted(&node.rows_now("shop/cart").await);
    let known = ["GET /small 200", "GET /none 404", "GET /small?token=<redacted> 200"];
    for (line, count) in counts {
        assert!(known.iter().any(|known| line.ends_with(known)) && count <= sent / 3, "{line}: {count}");
    }
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn downloads_have_their_size_or_none() {
    let mut node = RequestNode::new("downloads");
    let port = free_port();
    let key = node.request_with("cart", requests_on(port), 32 << 20);
    node.apply().await;
    let server = Server::start(&node, port).await;
    let arguments = ["--rps", "30", "-n", "60", "-c", "1", "-m", "3", &server.url("/large")];
    assert!(Started(node.start("h2load", &arguments)).ended().await.success());
    assert_all_are_counted(&mut node, &key, 120, 24).await;
    let rows = node.rows_now("shop/cart").await;
    assert!(counted(&rows).keys().all(|line| line.ends_with("http2 GET /large 200")), "{:?}", counted(&rows));
    let sizes: Vec<&str> = rows.iter().map(|row| column(row, "resp_body_size").unwrap()).collect();
    assert!(sizes.iter().all(|size| ["300000", "?"].contains(size)), "{sizes:?}");
    assert!(sizes.iter().filter(|size| **size == "300000").count() > 60, "{sizes:?}");
    node.withdraw().await;
}

/// What the table of the connection's beginning says is not known: it is `?`, and never another request's.
#[tokio::test]
#[ignore = "needs root"]
async fn connection_of_before_the_profile_is_never_wrong() {
    let mut node = RequestNode::new("joined");
    let port = free_port();
    let server = Server::start(&node, port).await;
    let urls = [server.url("/small"), server.url("/none")];
    let options = ["--rps", "400", "-n", "100000", "-c", "1", "-m", "4", "-H", "x-reef: anglerfish"];
    let arguments: Vec<&str> = options.into_iter().chain(urls.iter().map(String::as_str)).collect();
    let mut load = Started(node.start("h2load", &arguments));
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    node.request_with("cart", requests_on(port), 32 << 20);
    node.apply().await;
    let rows = node.rows("shop/cart", 800).await;
    assert!(load.0.try_wait().unwrap().is_none(), "it ended before the profile began");
    // nghttp2 writes paths as they are, and refers to what it has written of other fields.
    let known = ["http2 GET /small 200", "http2 GET /none 404"];
    let counts = counted(&rows);
    assert!(counts.keys().all(|line| known.iter().any(|known| line.ends_with(known))), "{counts:?}");
    assert!(rows.iter().all(|row| row.mid_stream && column(row, "req_headers").unwrap().contains("\"?\":\"?")));
    assert!(!format!("{rows:?}").contains("anglerfish"), "a value from before");
    load.kill();
    node.withdraw().await;
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn both_ends_of_grpc() {
    let number = |name| std::env::var(name).ok()?.parse::<u16>().ok();
    let (Some(port), Some(requests)) = (number(PORT), number(REQUESTS)) else { return };
    grpc_ends::call_in_this_process(port, requests);
}

#[tokio::test]
#[ignore = "needs root"]
async fn grpc_calls_of_tonic_have_their_status_and_messages() {
    let mut node = RequestNode::new("grpc");
    let port = free_port();
    let grpc = RequestsSession { protocols: vec![RequestProtocol::Grpc], ..requests_on(port) };
    let key = node.request_with("cart", grpc, 32 << 20);
    node.apply().await;
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "both_ends_of_grpc", "--ignored"];
    let port = port.to_string();
    let ends = node.start_with(this.to_str().unwrap(), &arguments, &[(PORT, port.as_str()), (REQUESTS, "100")]);
    assert!(Started(ends).ended().await.success());
    let rows = node.rows("shop/cart", 2 * 111).await;
    let expected = of_both_roles(&[
        ("grpc POST /grpc.health.v1.Health/Check OK", 100),
        ("grpc POST /grpc.health.v1.Health/Check NOT_FOUND", 10),
    ]);
    let (watches, calls): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.target.ends_with("/Watch"));
    assert_eq!(counted(&calls), expected);
    for call in &calls {
        let answers = if call.is_error { "0" } else { "1" };
        assert_eq!(
            (column(call, "req_messages"), column(call, "resp_messages")),
            (Some("1"), Some(answers)),
            "{call:?}"
        );
        assert_eq!((column(call, "resp_status"), call.is_error), (Some("200"), call.status == "NOT_FOUND"));
    }
    // The client leaves the stream after two of its messages.
    assert_eq!(watches.len(), 2);
    assert!(watches.iter().all(|watch| column(watch, "resp_messages") == Some("2")), "{watches:?}");
    assert!(watches.iter().all(|watch| column(watch, "resp_message") == Some("RST_STREAM CANCEL")), "{watches:?}");
    assert!(!format!("{calls:?}{watches:?}").contains("anglerfish"));
    assert_all_are_counted(&mut node, &key, 222, 0).await;
    node.withdraw().await;
}

/// The same with Go's implementation: calls of several goroutines on one connection, and a stream in both directions.
#[tokio::test]
#[ignore = "needs root"]
async fn grpc_calls_of_go_have_their_status_and_messages() {
    if Command::new("go").arg("version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("grpc");
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/programs");
    let build = ["-C", module, "build", "-trimpath", "-o", program.to_str().unwrap(), "./grpc"];
    assert!(Command::new("go").args(build).env("CGO_ENABLED", "0").status().unwrap().success());
    let mut node = RequestNode::new("grpc-go");
    let port = free_port();
    let key = node.request_with("cart", requests_on(port), 32 << 20);
    node.apply().await;
    let mut ends = Started(node.start(program.to_str().unwrap(), &[&port.to_string(), "1000"]));
    assert!(ends.ended().await.success());
    let rows = node.rows("shop/cart", 2 * 1001).await;
    let expected = of_both_roles(&[
        ("grpc POST /grpc.health.v1.Health/Check OK", 900),
        ("grpc POST /grpc.health.v1.Health/Check NOT_FOUND", 100),
        ("grpc POST /grpc.reflection.v1.ServerReflection/ServerReflectionInfo OK", 1),
    ]);
    assert_eq!(counted(&rows), expected);
    for row in &rows {
        let messages = match (row.target.ends_with("Info"), row.is_error) {
            (true, _) => ("20", "20"),
            (false, true) => ("1", "0"),
            (false, false) => ("1", "1"),
        };
        assert_eq!((column(row, "req_messages").unwrap(), column(row, "resp_messages").unwrap()), messages, "{row:?}");
    }
    assert!(!format!("{rows:?}").contains("anglerfish"));
    assert_all_are_counted(&mut node, &key, 2002, 0).await;
    node.withdraw().await;
}
