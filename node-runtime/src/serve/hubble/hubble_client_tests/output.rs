//! What the real `hubble` prints of each event, read from our socket: golden files. `UPDATE_GOLDEN=1` rewrites them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use tokio::{
    net::UnixListener,
    sync::{oneshot, watch},
};
use tonic::service::Routes;

use super::hubble;
use crate::{
    layers::network::{
        flow::{
            Event, Flow, L4, L7FlowType, ObservationPoint, PolicyAction,
            samples::{dns, drop_by_policy, drop_for_another_reason, forwarded, http, policy_verdict, syn},
        },
        history::FlowBuffer,
        tcp_flags::TcpFlags,
    },
    loss::Ledger,
    serve::{
        hubble::{NodeInfo, services},
        read_rows::ReadRows,
        router::Services,
    },
};

/// One flow of each event, and those that print another way.
fn each_event() -> Vec<Flow> {
    let mut answer = syn();
    std::mem::swap(&mut answer.source, &mut answer.destination);
    std::mem::swap(&mut answer.source_endpoint, &mut answer.destination_endpoint);
    answer.source_service = answer.destination_service.take();
    answer.is_reply = Some(true);
    forwarded(&mut answer).flags = TcpFlags(0x12);
    forwarded(&mut answer).observation_point = ObservationPoint::ToEndpoint;
    let mut ping = Flow { l4: L4::Icmp { v6: false, kind: 8, code: 0 }, ..drop_for_another_reason() };
    [&mut ping.source, &mut ping.destination].into_iter().for_each(|end| end.set_port(0));
    let mut denied = drop_by_policy();
    denied.destination_service = None;
    if let Event::Dropped(dropped) = &mut denied.event {
        dropped.packets = 12_000;
    }
    let mut flows = vec![
        syn(),
        answer,
        denied,
        drop_for_another_reason(),
        ping,
        policy_verdict(PolicyAction::Allowed),
        policy_verdict(PolicyAction::Denied),
        policy_verdict(PolicyAction::Audit),
        http(L7FlowType::Request, 0),
        http(L7FlowType::Response, 503),
        dns(L7FlowType::Request, 0),
        dns(L7FlowType::Response, 0),
        dns(L7FlowType::Response, 3),
    ];
    for (flow, number) in flows.iter_mut().zip(0..) {
        flow.uuid += number;
        flow.time = flow.time.checked_add(jiff::SignedDuration::from_secs(i64::try_from(number).unwrap())).unwrap();
    }
    flows
}

/// Serves these flows on a socket until the sender is dropped.
fn serve(flows: Vec<Flow>, path: &Path) -> oneshot::Sender<()> {
    let history = FlowBuffer::default();
    history.extend(flows.into_iter().map(Arc::new));
    let info = NodeInfo {
        node: "n1".into(),
        version: "1.2.3".into(),
        address: format!("unix://{}", path.display()),
        started: std::time::Instant::now(),
    };
    let (observer, peer) = services(history, Ledger::default(), info, ReadRows::default(), Arc::default());
    let services = Services::new(Routes::new(observer).add_service(peer));
    let (shutdown, ended) = oneshot::channel();
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(services.serve_socket(listener, watch::channel(false).1, ended));
    shutdown
}

/// What `hubble observe` prints with these arguments.
async fn observed(hubble: PathBuf, socket: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(hubble);
    command.args(["observe", "--last", "100", "--time-format", "RFC3339Nano", "--color", "never", "--server"]);
    command.arg(format!("unix://{}", socket.display())).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.replace(&format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")), "\"version\":\"ours\"")
}

#[tokio::test]
async fn every_output_of_the_client_shows_every_event() {
    let Some(hubble) = hubble() else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let _serving = serve(each_event(), &socket);
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/serve/hubble/golden");
    let mut differing = Vec::new();
    for (name, arguments) in [
        ("compact.txt", &["-o", "compact"][..]),
        ("compact-names.txt", &["-o", "compact", "--print-node-name", "--print-policy-names"]),
        ("dict.txt", &["-o", "dict", "--print-policy-names"]),
        ("json.txt", &["-o", "json"]),
        ("jsonpb.txt", &["-o", "jsonpb"]),
        ("table.txt", &["-o", "table", "--print-policy-names"]),
        ("numeric.txt", &["-o", "compact", "--numeric"]),
    ] {
        let printed = observed(hubble.clone(), &socket, arguments).await;
        let file = golden.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(&golden).unwrap();
            std::fs::write(&file, &printed).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if printed != expected {
            differing.push(format!("{name}:\n{printed}"));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 rewrites these:\n{}", differing.join("\n"));
}
