//! TLS that is not read, in this machine's kernel: of a pod whose annotation asks to leave it alone, though its library is that of
//! other pods, which are probed; of rustls; and of Java, where a JDK is installed. Needs root, Linux 6.6, openssl, curl, python3 and
//! the worker's binary: `cargo build -p trilobite-worker && cargo test -p trilobite-node --test tls_not_read -- --ignored`.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "other tests use more of it")]
mod request_node;
#[allow(dead_code, reason = "other tests use more of it")]
mod tls_programs;

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    sync::Arc,
};

use request_node::{PORT, RequestNode, free_port, requests_on};
use tls_programs::{Folder, SERVER_IN_JAVA, SERVER_IN_PYTHON, Started, is_installed};
use trilobite_crds::{app_profile::TlsCapture, node::RequestsSession};
use trilobite_node::identity::{Container, Pod};

fn pod(name: &str, digit: char, tls_capture_off: bool) -> Pod {
    let uid = format!("{0}{0}{0}{0}{0}{0}{0}{0}-0000-4000-8000-000000000000", digit);
    let id = format!("containerd://{}", digit.to_string().repeat(64));
    let container = Container { name: "app".into(), id, ..Container::default() };
    Pod {
        cgroup_uid: uid.clone(),
        uid,
        namespace: "shop".into(),
        name: name.into(),
        tls_capture_off,
        containers: vec![container],
        ..Pod::default()
    }
}

/// Fetches items from outside of the node's pods.
fn fetch(port: u16, items: usize) {
    for number in 0..items {
        let url = format!("https://127.0.0.1:{port}/item/{number}");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--http1.1", &url]).stdout(Stdio::null());
        assert!(curl.status().unwrap().success());
    }
}

#[tokio::test]
#[ignore = "needs root"]
async fn pod_that_opts_out_has_no_row_beside_one_with_the_same_library() {
    let (quiet, cart) = (pod("quiet", 'a', true), pod("cart", 'b', false));
    let mut node = RequestNode::with_pods("opt-out", Some(vec![quiet.clone(), cart.clone()]));
    let (quiet_port, cart_port) = (free_port(), free_port());
    let wanted = RequestsSession { tls: TlsCapture::Auto, ports: Vec::new(), ..requests_on(0) };
    let key = node.request_with("all", wanted, 16 << 20);
    node.apply().await;
    let folder = Folder::new("opt-out");
    let start = |pod: &Pod| {
        let pod = pod.clone();
        let node = &node;
        move |program: &str, arguments: &[&str]| node.start_in(&pod, program, arguments)
    };
    let mut quiet_server = folder.serve_by(start(&quiet), "python3", SERVER_IN_PYTHON, quiet_port).await;
    let mut cart_server = folder.serve_by(start(&cart), "python3", SERVER_IN_PYTHON, cart_port).await;
    node.wait_until("the library is probed", |node| node.state(&key).tls_targets > 0).await;
    fetch(quiet_port, 5);
    fetch(cart_port, 5);
    let rows = node.rows("shop/all", 5).await;
    node.wait_until("the TLS of the other pod was seen", |node| node.state(&key).encrypted >= 5).await;
    assert_eq!(node.rows_now("shop/all").await.len(), 5);
    let of_cart = |row: &&trilobite_worker_wire::RequestRow| row.local.is_none_or(|it| it.port() == cart_port);
    assert_eq!(rows.iter().filter(of_cart).count(), 5, "{rows:?}");
    assert!(rows.iter().all(|row| row.encrypted && !row.client));
    quiet_server.kill();
    cart_server.kill();
    node.withdraw().await;
}

/// A server of TLS that no probe can read is named, and its connections are counted.
async fn named_as_not_visible(node: &mut RequestNode, server: &mut Started, port: u16, reason: &str) {
    let wanted = RequestsSession { tls: TlsCapture::Auto, ports: vec![port], ..requests_on(port) };
    let key = node.request_with("cart", wanted, 16 << 20);
    node.apply().await;
    fetch(port, 5);
    node.wait_until("it is named", |node| !node.state(&key).tls_not_visible.is_empty()).await;
    let named = node.state(&key).tls_not_visible;
    assert_eq!((named.len(), named[0].reason.as_str(), named[0].processes), (1, reason, 1), "{named:?}");
    node.wait_until("its TLS was seen", |node| node.state(&key).encrypted >= 5).await;
    assert_eq!(node.rows_now("shop/cart").await, []);
    server.kill();
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn rustls_is_named_as_not_visible() {
    let mut node = RequestNode::new("rustls");
    let port = free_port();
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", "serve_by_rustls", "--ignored"];
    let mut server = Started(node.start_with(program.to_str().unwrap(), &arguments, &[(PORT, &port.to_string())]));
    tls_programs::wait_until_it_listens(port).await;
    named_as_not_visible(&mut node, &mut server, port, "rustls").await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn java_is_named_as_not_visible() {
    if !is_installed("javac") {
        return;
    }
    let mut node = RequestNode::new("java");
    let port = free_port();
    let folder = Folder::new("java");
    let mut server = folder.serve_in_java(&node, SERVER_IN_JAVA, port).await;
    named_as_not_visible(&mut node, &mut server, port, "jsse").await;
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn serve_by_rustls() {
    let Some(port) = std::env::var(PORT).ok().and_then(|port| port.parse::<u16>().ok()) else { return };
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["reef".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    for stream in TcpListener::bind(("127.0.0.1", port)).unwrap().incoming() {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        // What only connects says nothing.
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            request.extend_from_slice(&buffer[..read]);
            if request.ends_with(b"\r\n\r\n") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
                stream.flush().unwrap();
                break;
            }
        }
    }
}
