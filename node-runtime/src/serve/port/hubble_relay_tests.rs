//! The unmodified `hubble-relay` before the port, by TLS with the certificate that the operator gives it, and the real `hubble` before
//! that. Both are found in `target/cache/bin`; where one is not, the test says so and does nothing.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use axum::http::{Request, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{Client, client::Body};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::json;
use tonic::service::Routes;
use tower::service_fn;
use trilobite_crds::read_api::{HUBBLE_RELAY, node_names};

use super::*;
use crate::{
    certificate::{server_config, tests::TestAuthority},
    layers::network::{
        flow::samples::syn,
        history::{BYTES, FlowBuffer},
    },
    loss::Ledger,
    serve::{hubble, read_rows::ReadRows},
};

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

/// Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An API server that knows the pods of these agents.
fn api_server(agents: &'static [(&'static str, &'static str)]) -> Client {
    let service = service_fn(move |request: Request<Body>| async move {
        assert!(request.uri().path().ends_with("/namespaces/reef/pods"), "{}", request.uri());
        let pod = |(node, ip): &(&str, &str)| {
            json!({"metadata": {"name": node}, "spec": {"nodeName": node, "containers": []},
                   "status": {"hostIP": ip, "phase": "Running"}})
        };
        let items: Vec<_> = agents.iter().map(pod).collect();
        let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}).to_string();
        let response = Response::builder().header("content-type", "application/json");
        Ok::<_, Infallible>(response.body(Body::from(list.into_bytes())).unwrap())
    });
    Client::new(service, "reef")
}

/// An agent's port with three flows.
async fn agent(authority: &TestAuthority, client: &Client) -> OpenPort {
    let names = node_names("alder", "reef");
    let certificate = authority.issue(&names.each_ref().map(String::as_str), &[ServerAuth]);
    let (chain, key) = (certificate.chain.clone(), certificate.private_key());
    let config = server_config(chain, key, &authority.bundle().certificates, "trilobite-relay").unwrap();
    let flows = FlowBuffer::new(1_000, BYTES);
    for port in 40_000..40_003 {
        let mut flow = syn();
        flow.source.set_port(port);
        flows.push(Arc::new(flow));
    }
    let info =
        hubble::NodeInfo { node: "alder".into(), version: "1".into(), address: String::new(), started: Instant::now() };
    let api_server = std::sync::OnceLock::from(client.clone());
    let (observer, peer) = hubble::services(flows, Ledger::default(), info, ReadRows::default(), Arc::new(api_server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let services = Services::new(Routes::new(observer).add_service(peer));
    // The sender may go: the configuration stays.
    let (_, config) = watch::channel(Some(Arc::new(config)));
    OpenPort::serve(listener, config, services).unwrap()
}

fn write_pem(path: &Path, label: &str, der: &[u8]) {
    fs::write(path, format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))).unwrap();
}

#[tokio::test]
async fn unmodified_hubble_relay_finds_and_reads_an_agent() {
    let (Some(relay), Some(hubble)) = (client("hubble-relay"), client("hubble")) else { return };
    let authority = TestAuthority::new();
    let client = api_server(&[("alder", "127.0.0.1")]);
    let port = agent(&authority, &client).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let own = authority.issue(&[HUBBLE_RELAY], &[ClientAuth]);
    write_pem(&file("tls.crt"), "CERTIFICATE", &own.chain[0]);
    write_pem(&file("tls.key"), "PRIVATE KEY", own.private_key().secret_der());
    write_pem(&file("ca.crt"), "CERTIFICATE", &authority.certificate);
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut serve = Command::new(relay);
    serve.args(["serve", "--disable-server-tls", "--gops=false", "--health-listen-address", "127.0.0.1:0"]);
    serve.args(["--peer-service", &port.address().to_string(), "--listen-address", &listen.to_string()]);
    for (flag, name) in [
        ("--tls-hubble-client-cert-file", "tls.crt"),
        ("--tls-hubble-client-key-file", "tls.key"),
        ("--tls-hubble-server-ca-files", "ca.crt"),
    ] {
        serve.arg(flag).arg(file(name));
    }
    let _relay = Running(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let mut observe = Command::new(&hubble);
        observe.args(["observe", "-o", "json", "--last", "10", "--server", &listen.to_string()]);
        let done = tokio::task::spawn_blocking(move || observe.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let has_all = [40_000, 40_001, 40_002].iter().all(|port| said.contains(&format!("\"source_port\":{port}")));
        if has_all && said.lines().count() == 3 {
            return;
        }
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(Instant::now() < give_up, "{said}{error}");
        sleep(Duration::from_millis(500)).await;
    }
}
