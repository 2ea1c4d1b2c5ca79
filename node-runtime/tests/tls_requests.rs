//! Requests inside TLS in this machine's kernel: real servers and clients, whose libraries are probed while a profile asks for it.
//! Needs root, Linux 6.6, openssl, curl, python3 and the worker's binary; Node and Go where they are installed:
//! `cargo build -p trilobite-worker && cargo test -p trilobite-node --test tls_requests -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[allow(dead_code, reason = "other tests use more of it")]
mod request_node;
mod tls_programs;

use std::{ops::Range, time::Duration};

use request_node::{RequestNode, free_port, requests_on};
use tls_programs::{Folder, PIPELINING_CLIENT, SERVER_IN_NODE, SERVER_IN_PYTHON, Started, is_installed};
use trilobite_crds::{app_profile::TlsCapture, node::RequestsSession};
use trilobite_node::{
    kernel::account,
    plan::{UnitKey, UnitState},
};
use trilobite_worker_wire::RequestRow;

fn with_tls(port: u16) -> RequestsSession {
    RequestsSession { tls: TlsCapture::Auto, ports: Vec::new(), ..requests_on(port) }
}

/// A node with a profile `shop/cart`, and a running server of which the library is probed.
async fn serving(name: &str, program: &str, script: &str, port: u16) -> (RequestNode, UnitKey, Folder, Started) {
    let mut node = RequestNode::new(name);
    let key = node.request_with("cart", with_tls(port), 16 << 20);
    let states = node.apply().await;
    assert_eq!(states[&key], UnitState::Active { notes: Vec::new() });
    let folder = Folder::new(name);
    let server = folder.serve(&node, program, script, port).await;
    node.wait_until("the library is probed", |node| node.state(&key).tls_targets > 0).await;
    (node, key, folder, server)
}

/// Fetches items by one connection of curl.
async fn fetch(node: &RequestNode, port: u16, items: Range<usize>) {
    let urls: Vec<String> = items.map(|number| format!("https://127.0.0.1:{port}/item/{number}")).collect();
    let mut arguments = vec!["--silent", "--insecure", "--http1.1"];
    arguments.extend(urls.iter().map(String::as_str));
    let mut curl = Started(node.start("curl", &arguments));
    assert!(curl.ended().await.success());
}

/// The targets of rows of one role, with the check that each is in the clear and names the right peer.
fn targets(rows: &[RequestRow], client: bool, port: u16) -> Vec<&str> {
    let of_role = rows.iter().filter(|row| row.client == client);
    let checked = of_role.map(|row| {
        assert!(row.encrypted && row.status == "200" && row.operation == "GET", "{row:?}");
        let server = if client { row.remote } else { row.local };
        assert!(server.is_none_or(|address| address.port() == port), "{row:?}");
        row.target.as_str()
    });
    checked.collect()
}

fn with_peer(rows: &[RequestRow], client: bool) -> usize {
    rows.iter().filter(|row| row.client == client && row.remote.is_some() && row.connection != 0).count()
}

#[tokio::test]
#[ignore = "needs root"]
async fn requests_inside_openssl_are_rows_of_both_ends() {
    let port = free_port();
    let (mut node, key, _folder, mut server) = serving("openssl", "python3", SERVER_IN_PYTHON, port).await;
    let before = account();
    fetch(&node, port, 0..5).await;
    fetch(&node, port, 0..5).await;
    let rows = node.rows("shop/cart", 20).await;
    let mut wanted: Vec<String> = (0..5).flat_map(|number| vec![format!("/item/{number}"); 2]).collect();
    wanted.sort_unstable();
    for client in [false, true] {
        let mut targets = targets(&rows, client, port);
        targets.sort_unstable();
        assert_eq!((targets, with_peer(&rows, client)), (wanted.iter().map(String::as_str).collect(), 10));
    }
    // Both ends of a connection have one key, which is that of its flow.
    let connection = |client| rows.iter().find(|row| row.client == client).map(|row| row.connection);
    assert_eq!(connection(true), connection(false));
    node.wait_until("the counts have come", |node| node.state(&key).rows.iter().any(|it| it.rows == 20)).await;
    let state = node.state(&key);
    assert_eq!((state.encrypted, state.lost_parse, state.lost_ring), (0, 0, 0), "{state:?}");
    println!("{before:?} {state:?}");
    server.kill();
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn each_request_of_a_large_write_inside_tls_is_a_row() {
    let port = free_port();
    let (mut node, key, _folder, mut server) = serving("pipelined", "python3", SERVER_IN_PYTHON, port).await;
    let mut client = Started(node.start("python3", &["-c", PIPELINING_CLIENT, &port.to_string()]));
    let rows = node.rows("shop/cart", 2 * 403).await;
    assert!(client.ended().await.success());
    let wanted: Vec<String> = (0..403).map(|number| format!("/item/{number}")).collect();
    for client in [false, true] {
        assert_eq!(
            (targets(&rows, client, port), with_peer(&rows, client)),
            (wanted.iter().map(String::as_str).collect(), 403)
        );
    }
    let state = node.state(&key);
    assert_eq!((state.gap_bytes, state.lost_parse, state.lost_ring), (0, 0, 0), "{state:?}");
    server.kill();
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn two_profiles_share_the_probes_of_a_file() {
    let port = free_port();
    let (mut node, _, _folder, mut server) = serving("shared", "python3", SERVER_IN_PYTHON, port).await;
    let one = account();
    let till = node.request_with("till", with_tls(port), 16 << 20);
    node.apply().await;
    node.wait_until("the second one has it too", |node| node.state(&till).tls_targets > 0).await;
    assert_eq!((account().links, account().programs), (one.links, one.programs));
    fetch(&node, port, 0..3).await;
    assert_eq!(node.rows("shop/till", 6).await.len(), 6);
    // The first one ends, and the second one still reads.
    node.desired.sessions.remove(0);
    node.apply().await;
    fetch(&node, port, 0..3).await;
    assert_eq!(node.rows("shop/till", 12).await.len(), 12);
    assert_eq!(account().links, one.links);
    server.kill();
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn profile_without_tls_places_no_probe() {
    let port = free_port();
    let mut node = RequestNode::new("off");
    let key = node.request_with("cart", RequestsSession { tls: TlsCapture::Off, ..with_tls(port) }, 16 << 20);
    node.apply().await;
    let links = account().links;
    let folder = Folder::new("off");
    let mut server = folder.serve(&node, "python3", SERVER_IN_PYTHON, port).await;
    fetch(&node, port, 0..3).await;
    node.wait_until("TLS was seen", |node| node.state(&key).encrypted > 0).await;
    assert_eq!((account().links, node.state(&key).tls_targets, node.rows_now("shop/cart").await), (links, 0, vec![]));
    server.kill();
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn probes_of_a_file_go_with_its_last_process() {
    let port = free_port();
    let (mut node, key, folder, mut server) = serving("killed", "python3", SERVER_IN_PYTHON, port).await;
    for _ in 0..3 {
        // In the middle of its calls.
        let mut curl =
            Started(node.start("curl", &["--silent", "--insecure", &format!("https://127.0.0.1:{port}/slow")]));
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.kill();
        curl.ended().await;
        node.wait_until("no process has the file", |node| node.state(&key).tls_targets == 0).await;
        server = folder.serve(&node, "python3", SERVER_IN_PYTHON, port).await;
        node.wait_until("the next process is found", |node| node.state(&key).tls_targets > 0).await;
    }
    let rows = node.rows_now("shop/cart").await.len();
    fetch(&node, port, 0..2).await;
    node.rows("shop/cart", rows + 4).await;
    server.kill();
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn node_is_decrypted_and_never_shown_with_a_wrong_peer() {
    if !is_installed("node") {
        return;
    }
    let port = free_port();
    let (mut node, key, _folder, mut server) = serving("node", "node", SERVER_IN_NODE, port).await;
    // That of the clients, which lies in the file system, and the one inside of the server.
    node.wait_until("both libraries are probed", |node| node.state(&key).tls_targets == 2).await;
    // Connections that are open at the same time, in a process of the other library.
    for round in 0..10 {
        let (first, second) = (20 * round, 20 * round + 10);
        let (left, right) = (fetch(&node, port, first..second), fetch(&node, port, second..second + 10));
        tokio::join!(left, right);
    }
    let rows = node.rows("shop/cart", 400).await;
    let (servers, clients) = (targets(&rows, false, port).len(), targets(&rows, true, port).len());
    let state = node.state(&key);
    let mid_stream = |client| rows.iter().filter(|row| row.client == client && row.mid_stream).count();
    println!("picked up mid-stream: {} rows of the server, {} of clients", mid_stream(false), mid_stream(true));
    println!("{} of {servers} rows of the server have a peer; {state:?}", with_peer(&rows, false));
    assert_eq!((servers, clients, with_peer(&rows, true)), (200, 200, 200));
    // The first connection of the process may be missing: it was open before its thread was known.
    assert!(with_peer(&rows, false) >= 180);
    let peers = |client| -> Vec<_> {
        let of_role = rows.iter().filter(move |row| row.client == client);
        of_role
            .map(|row| if client { (row.target.clone(), row.local) } else { (row.target.clone(), row.remote) })
            .collect()
    };
    let clients = peers(true);
    assert!(peers(false).iter().filter(|(_, peer)| peer.is_some()).all(|row| clients.contains(row)));
    server.kill();
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn go_is_named_as_not_visible() {
    let folder = Folder::new("go");
    let Some(program) = folder.go_client_of_tls() else { return };
    let mut node = RequestNode::new("go");
    let key = node.request_with("cart", with_tls(free_port()), 16 << 20);
    node.apply().await;
    let mut running = Started(node.start(program.to_str().unwrap(), &[]));
    node.wait_until("it is named", |node| !node.state(&key).tls_not_visible.is_empty()).await;
    let named = node.state(&key).tls_not_visible;
    let named: Vec<_> = named.iter().map(|it| (it.reason.as_str(), it.binary.as_str(), it.processes)).collect();
    assert_eq!(named, [("go", "program", 1)]);
    running.kill();
    node.wait_until("it is gone", |node| node.state(&key).tls_not_visible.is_empty()).await;
    node.withdraw().await;
}
