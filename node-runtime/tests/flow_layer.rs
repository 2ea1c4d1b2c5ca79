//! The layer from a plan to a client: what it watches, and that it leaves nothing behind.
//! Needs root and a kernel from 6.6 on: `cargo test -p trilobite-node --test flow_layer -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod node_and_pod;

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use node_and_pod::{HOST_END, NodeAndPod};
use trilobite_crds::node::{FlowOutput, FlowsPart, FlowsSession, PodScope, Source, SourceKind};
use trilobite_node::{
    export::captures::CaptureExport,
    identity::IdentityService,
    kernel::{account, probe},
    layers::{
        LayerContext,
        network::{Network, netlink},
    },
    loss::Ledger,
    plan::{Plan, Unit, UnitContent, UnitKey, UnitState},
};

fn source(kind: SourceKind, name: &str) -> (UnitKey, Source) {
    let key = UnitKey { kind, name: format!("shop/{name}").into(), version: "1".into() };
    (key, Source { kind, namespace: Some("shop".into()), name: name.into(), generation: 1 })
}

fn flows_of_the_machine() -> (UnitKey, Unit<UnitContent>) {
    let (key, source) = source(SourceKind::ObservabilityStack, "default");
    let content = UnitContent::Flows(FlowsPart { pods: Default::default(), flow_entries: 1024, ring_bytes: 65536 });
    (key, Unit { source, expires_at: None, content })
}

fn capture_of_udp_to_a_file() -> (UnitKey, Unit<UnitContent>) {
    let (key, source) = source(SourceKind::FlowCapture, "udp");
    let content = UnitContent::Capture(FlowsSession {
        pods: PodScope::default(),
        ports: Vec::new(),
        protocols: vec!["UDP".into()],
        output: vec![FlowOutput::File],
        flow_entries: 4096,
        ring_bytes: 131_072,
    });
    (key, Unit { source, expires_at: None, content })
}

/// The layer of a machine without a cluster, which keeps its files in `state_dir`.
fn layer(state_dir: PathBuf) -> Network {
    let facts = Arc::new(probe::facts(None));
    let context = LayerContext { node_name: "n1".into(), facts: facts.clone(), ledger: Ledger::default(), state_dir };
    let identity = IdentityService::new(facts, context.ledger.clone(), false);
    Network::new(context, identity, Arc::default())
}

#[test]
#[ignore = "needs root"]
fn host_end_of_a_veth_is_found_by_a_process_behind_it() {
    let link = NodeAndPod::new();
    let mut process = link.in_pod(|| Command::new("sleep").arg("60").spawn().unwrap());
    let links = netlink::links().unwrap();
    let host_end = links.iter().find(|link| link.name == HOST_END).unwrap();
    let number = netlink::namespace_of(process.id()).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(number.is_some());
    assert_eq!(host_end.peer_namespace, number);
}

#[test]
#[ignore = "needs root"]
fn new_interface_is_watched_and_deleted_one_is_not() {
    let link = NodeAndPod::new();
    link.up();
    let ip = |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().unwrap().success());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut network = layer(std::env::temp_dir());
        let mut plan = Plan::default();
        plan.units.extend([flows_of_the_machine()]);
        let states = network.apply(&plan).await;
        assert_eq!(states, network.states());
        let alone = account().links;

        // More than are attached to at a time.
        for number in 0..7 {
            link.another_link(&format!("trblate{number}"));
        }
        let watched = async |links: u64| {
            for _ in 0..200 {
                if account().links == links {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            false
        };
        assert!(watched(alone + 14).await, "{} of {}", account().links, alone + 14);
        (0..7).for_each(|number| ip(&["link", "del", &format!("trblate{number}")]));
        assert!(watched(alone).await, "{} of {alone}", account().links);
        network.apply(&Plan::default()).await;
        assert_eq!(network.states().len(), 0);
    });
}

#[test]
#[ignore = "needs root"]
fn stack_and_capture_share_programs_and_leave_nothing_behind() {
    let link = NodeAndPod::new();
    link.up();
    let folder = std::env::temp_dir().join(format!("trilobite-flow-layer-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut network = layer(folder.clone());
        let captures = network.subscribe_captures();
        let _export = CaptureExport::start(captures, "n1".into(), &folder, Ledger::default());
        let before = account();

        let mut plan = Plan::default();
        plan.units.extend([flows_of_the_machine()]);
        let states = network.apply(&plan).await;
        assert!(states.values().all(|state| *state == UnitState::Active { notes: Vec::new() }), "{states:?}");
        let alone = account();
        assert!(alone.programs > before.programs && alone.links > before.links);

        plan.units.extend([capture_of_udp_to_a_file()]);
        network.apply(&plan).await;
        let both = account();
        assert_eq!((both.programs, both.maps, both.links), (alone.programs, alone.maps, alone.links));

        link.tcp(0, true, 1 << 20);
        link.udp(1, &[100, 200]);
        let buffer = network.flow_buffer();
        // Neighbour discovery has flows of its own.
        let capture = capture_of_udp_to_a_file().0;
        while buffer.len() < 6 || network.counts()[&capture].records < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let counts = network.counts();
        let (stack, capture) = (counts[&flows_of_the_machine().0], counts[&capture_of_udp_to_a_file().0]);
        assert!(stack.records > capture.records && capture.records >= 2, "{counts:?}");
        assert_eq!((stack.lost, capture.lost), (0, 0));

        plan.units.retain(|_, unit| !matches!(unit.content, UnitContent::Capture(_)));
        let states = network.apply(&plan).await;
        assert_eq!(states.len(), 1);
        network.apply(&Plan::default()).await;
        let after = account();
        assert_eq!((after.programs, after.maps, after.links), (before.programs, before.maps, before.links));
        assert!(buffer.len() >= 6, "the flows of a capture that has ended can be read for a while");
    });
    let file = folder.join("captures/shop.udp/events.log");
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    while !written().contains(r#""reason":"end""#) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(written().lines().all(|line| line.contains(r#""UDP":{"#)), "{}", written());
    std::fs::remove_dir_all(&folder).unwrap();
}
