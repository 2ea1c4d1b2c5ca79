//! Lookups of a real resolver as flows, the names that they give to later ones, and a worker that is killed.
//! Needs root, `dnsmasq` and a worker that was built: `cargo test -p trilobite-node --test flow_dns -- --ignored`.

#![allow(clippy::unwrap_used)]

mod two_pods;

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};
use trilobite_crds::{
    node::{FlowsPart, Source, SourceKind},
    stack::DnsMode,
};
use trilobite_node::{
    identity::IdentityService,
    kernel::{account, probe},
    layers::{
        LayerContext,
        network::{
            Network,
            flow::{Dns, Flow, L7FlowType, L7Record, TrafficDirection},
        },
        worker::WorkerProgram,
    },
    loss::{Ledger, LossPoint},
    plan::{Plan, Unit, UnitContent, UnitKey, UnitState},
};
use two_pods::{CART, FRONT, PodOf, SERVICE, TwoPods, nft};

const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// A resolver in the pod `cart`.
struct Resolver(Child);

impl Resolver {
    fn start(pods: &TwoPods) -> Self {
        let arguments = [
            "--keep-in-foreground".to_owned(),
            "--conf-file=/dev/null".to_owned(),
            "--no-resolv".to_owned(),
            "--no-hosts".to_owned(),
            "--user=root".to_owned(),
            "--pid-file=".to_owned(),
            "--bind-interfaces".to_owned(),
            format!("--listen-address={}", CART[0]),
            format!("--listen-address={}", CART[1]),
            "--local=/shop.test/".to_owned(),
            format!("--host-record=till.shop.test,{},{},30", CART[0], CART[1]),
            format!("--host-record=zero.shop.test,{}", CART[0]),
            "--cname=www.shop.test,till.shop.test,60".to_owned(),
            format!("--txt-record=big.shop.test,{}", ["x".repeat(200).as_str(); 5].join(",")),
        ];
        let start = move || {
            let mut dnsmasq = Command::new("dnsmasq");
            dnsmasq.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            dnsmasq.spawn().expect("it is installed: apt-get install dnsmasq-base")
        };
        let resolver = Self(pods.inside(PodOf::Cart, start));
        let is_up = || pods.inside(PodOf::Cart, || TcpStream::connect((CART[0], 53)).is_ok());
        let mut tries = 0..500;
        while !is_up() {
            tries.next().expect("the resolver does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        resolver
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(b"\x01\0\0\x01\0\0\0\0\0\0");
    name.split('.').for_each(|label| {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    });
    bytes.push(0);
    bytes.extend([kind.to_be_bytes(), [0, 1]].concat());
    bytes
}

/// Asks from the pod `front` over UDP; an answer is awaited if there is to be one.
fn ask(pods: &TwoPods, family: usize, server: &str, query: Vec<u8>, is_answered: bool) -> Vec<u8> {
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    pods.inside(PodOf::Front, move || {
        let socket = UdpSocket::bind((FRONT[family], 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.send_to(&query, server).unwrap();
        let mut answer = vec![0; 4096];
        let length = if is_answered { socket.recv(&mut answer).unwrap() } else { 0 };
        answer.truncate(length);
        answer
    })
}

/// Asks twice on one connection.
fn ask_by_tcp(pods: &TwoPods, family: usize, queries: [Vec<u8>; 2]) {
    let server = SocketAddr::new(CART[family].parse().unwrap(), 53);
    pods.inside(PodOf::Front, move || {
        let mut stream = TcpStream::connect(server).unwrap();
        for query in queries {
            stream.write_all(&[&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat()).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes(length))]).unwrap();
        }
    });
}

struct Node {
    network: Network,
    ledger: Ledger,
    plan: Plan,
}

impl Node {
    /// Watches the machine, which is this thread's network namespace.
    async fn watching() -> Self {
        let facts = Arc::new(probe::facts(None));
        let ledger = Ledger::default();
        let state_dir = std::env::temp_dir();
        let context = LayerContext { node_name: "n1".into(), facts: facts.clone(), ledger: ledger.clone(), state_dir };
        let identity = IdentityService::new(facts, ledger.clone(), false);
        let worker = std::env::current_exe().unwrap().parent().unwrap().with_file_name("trilobite-worker");
        let worker = std::env::var_os("TRILOBITE_WORKER").map_or(worker, PathBuf::from);
        let worker = WorkerProgram::find(&worker);
        assert!(worker.is_ok(), "{worker:?}; build it first: cargo build -p trilobite-worker");
        let network = Network::new(context, identity, Arc::default()).with_dns_worker(worker);
        let mut plan = Plan::default();
        let key = UnitKey { kind: SourceKind::ObservabilityStack, name: "default".into(), version: "1".into() };
        let source =
            Source { kind: SourceKind::ObservabilityStack, namespace: None, name: "default".into(), generation: 1 };
        let content = UnitContent::Flows(FlowsPart { pods: Default::default(), flow_entries: 1024, ring_bytes: 65536 });
        plan.units.insert(key, Unit { source, expires_at: None, content });
        let mut node = Self { network, ledger, plan };
        node.apply().await;
        node
    }

    async fn apply(&mut self) {
        let states = self.network.apply(&self.plan).await;
        assert!(states.values().all(|state| *state == UnitState::Active { notes: Vec::new() }), "{states:?}");
    }

    fn flows(&self) -> Vec<Arc<Flow>> {
        self.network.flow_buffer().read(0, 100_000).flows
    }

    /// Lookups so far, as lines, with their flows.
    fn lookups(&self) -> Vec<(String, Arc<Flow>)> {
        let lookup = |flow: &Arc<Flow>| {
            let l7 = flow.l7()?;
            let L7Record::Dns(dns) = &l7.record else { return None };
            Some((line(l7.flow_type, dns), flow.clone()))
        };
        self.flows().iter().filter_map(lookup).collect()
    }

    async fn lookup(&self, wanted: &str) -> Arc<Flow> {
        self.wait_for(wanted, |node| {
            node.lookups().into_iter().rev().find(|(line, _)| line == wanted).map(|(_, flow)| flow)
        })
        .await
    }

    async fn wait_for<T>(&self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        let found = timeout(Duration::from_secs(60), async {
            loop {
                if let Some(found) = find(self) {
                    return found;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        let lookups = || self.lookups().into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        found.await.unwrap_or_else(|_| panic!("{what}: {:#?}", lookups()))
    }
}

fn line(flow_type: L7FlowType, dns: &Dns) -> String {
    let Dns { query, qtypes, ips, ttl, cnames, rcode, .. } = dns;
    let qtypes = qtypes.join(",");
    match flow_type {
        L7FlowType::Request => format!("{query} {qtypes}?"),
        L7FlowType::Response => format!("{query} {qtypes} {rcode} {ips:?} {cnames:?} {ttl}"),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
#[ignore = "needs root"]
fn lookups_of_a_real_resolver_are_flows() {
    let pods = TwoPods::new();
    let _resolver = Resolver::start(&pods);
    runtime().block_on(async {
        let before = account();
        let mut node = Node::watching().await;
        for (family, kind, name) in [(0, A, "A"), (1, AAAA, "AAAA")] {
            ask(&pods, family, CART[family], query(7, "Till.Shop.test", kind), true);
            let asked = node.lookup(&format!("till.shop.test. {name}?")).await;
            let answered = node.lookup(&format!("till.shop.test. {name} 0 [{}] [] 30", CART[family])).await;
            assert_eq!((asked.is_reply, answered.is_reply), (Some(false), Some(true)));
            assert_eq!([asked.direction, answered.direction], [TrafficDirection::Egress; 2]);
            assert_eq!((asked.source, asked.destination), (answered.destination, answered.source));
            assert_eq!(asked.source.ip(), FRONT[family].parse::<IpAddr>().unwrap());
            assert_eq!(asked.connection, answered.connection);
            assert!(answered.l7().unwrap().latency_ns > 0 && asked.time <= answered.time);
            let of_packets = |flow: &&Arc<Flow>| flow.connection == asked.connection && flow.forwarded().is_some();
            node.wait_for("flows of the packets", |node| node.flows().iter().find(of_packets).map(drop)).await;
        }
        for (name, kind, answer) in [
            ("www.shop.test", A, format!("www.shop.test. A 0 [{}] [\"till.shop.test.\"] 30", CART[0])),
            ("zero.shop.test", A, format!("zero.shop.test. A 0 [{}] [] 0", CART[0])),
            ("none.shop.test", A, format!("none.shop.test. A 3 [] [] {}", u32::MAX)),
            ("elsewhere.test", A, format!("elsewhere.test. A 5 [] [] {}", u32::MAX)),
            // What does not fit is left out, and asked for by TCP.
            ("big.shop.test", TXT, format!("big.shop.test. TXT 0 [] [] {}", u32::MAX)),
        ] {
            ask(&pods, 0, CART[0], query(8, name, kind), true);
            node.lookup(&answer).await;
        }
        for (family, name, kind) in [(0, "big.shop.test", TXT), (1, "till.shop.test", AAAA)] {
            let before = node.lookups().len();
            ask_by_tcp(&pods, family, [query(1, name, kind), query(2, "none.shop.test", A)]);
            node.wait_for("two lookups by TCP", |node| (node.lookups().len() >= before + 4).then_some(())).await;
            let lookups = node.lookups();
            assert!(lookups[before..].iter().all(|(_, flow)| flow.l4.name() == Some("TCP")));
            assert!(lookups[before + 1].0.contains(if kind == TXT { "TXT 0 [] [] 0" } else { "AAAA 0 [" }));
            assert!(lookups[before + 3].0.starts_with("none.shop.test. A 3"), "{}", lookups[before + 3].0);
        }
        // Each message passes two interfaces and is told once.
        sleep(Duration::from_millis(300)).await;
        assert_eq!(node.lookups().len(), 2 * (2 + 5 + 4));
        assert_eq!((node.ledger.total_at(LossPoint::DnsRing), node.ledger.total_at(LossPoint::DnsWorker)), (0, 0));

        node.network.set_dns(DnsMode::Disabled);
        node.apply().await;
        ask(&pods, 0, CART[0], query(9, "till.shop.test", A), true);
        sleep(Duration::from_millis(300)).await;
        assert_eq!(node.lookups().len(), 22);
        assert_eq!(workers(), Vec::<u32>::new());
        node.plan = Plan::default();
        node.apply().await;
        let after = account();
        assert_eq!((after.programs, after.maps, after.links), (before.programs, before.maps, before.links));
    });
}

#[test]
#[ignore = "needs root"]
fn connection_has_the_name_that_its_pod_looked_up() {
    let pods = TwoPods::new();
    let _resolver = Resolver::start(&pods);
    let listener = pods.inside(PodOf::Cart, || TcpListener::bind((CART[0], 8080)).unwrap());
    // A Service of DNS, as kube-proxy makes it.
    nft(&format!(
        "table ip nat {{\nchain c {{\ntype nat hook prerouting priority -100;\nip daddr {SERVICE} udp dport 53 dnat to {}\n}}\n}}\n",
        CART[0]
    ));
    runtime().block_on(async {
        let node = Node::watching().await;
        ask(&pods, 0, SERVICE, query(7, "till.shop.test", A), true);
        let answered = node.lookup(&format!("till.shop.test. A 0 [{}] [] 30", CART[0])).await;
        assert_eq!(answered.source.ip(), SERVICE.parse::<IpAddr>().unwrap());
        pods.inside(PodOf::Front, || drop(TcpStream::connect((CART[0], 8080)).unwrap()));
        let named = |flow: &Flow| {
            let names = flow.destination_names.as_ref()?;
            (flow.destination.port() == 8080).then(|| names.to_vec())
        };
        let names = node.wait_for("a name", |node| node.flows().iter().find_map(|flow| named(flow))).await;
        assert_eq!(names, ["till.shop.test"]);
        // Replies name their source, and the other pod, which has asked nothing, has no names.
        node.wait_for("the name of a reply's source", |node| {
            node.flows().iter().find(|flow| flow.source_names.is_some() && flow.source.port() == 8080).map(drop)
        })
        .await;
        let at_cart = |flow: &&Arc<Flow>| flow.interface.name == "vb";
        assert!(
            node.flows()
                .iter()
                .filter(at_cart)
                .all(|flow| flow.destination_names.is_none() && flow.source_names.is_none())
        );
        // The message behind the translation is the same one.
        assert_eq!(node.lookups().len(), 2);
    });
    drop(listener);
}

#[test]
#[ignore = "needs root"]
fn killed_worker_costs_lookups_alone_and_is_replaced() {
    let pods = TwoPods::new();
    let _resolver = Resolver::start(&pods);
    runtime().block_on(async {
        let node = Node::watching().await;
        ask(&pods, 0, CART[0], query(7, "till.shop.test", A), true);
        node.lookup(&format!("till.shop.test. A 0 [{}] [] 30", CART[0])).await;
        let [worker] = workers()[..] else { panic!("{:?}", workers()) };
        assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
        let is_noted = |node: &Node| {
            let states = node.network.states();
            let text = format!("{states:?}");
            text.contains("the worker process that reads DNS").then_some(())
        };
        node.wait_for("a note", is_noted).await;
        pods.send_udp(0, SocketAddr::new(CART[0].parse().unwrap(), 9000), 1);
        let to_port = |flow: &&Arc<Flow>| flow.destination.port() == 9000;
        node.wait_for("a flow without a worker", |node| node.flows().iter().find(to_port).map(drop)).await;
        node.wait_for("another worker", |_| (workers().len() == 1 && workers() != [worker]).then_some(())).await;
        ask(&pods, 0, CART[0], query(8, "www.shop.test", A), true);
        node.lookup(&format!("www.shop.test. A 0 [{}] [\"till.shop.test.\"] 30", CART[0])).await;
        node.wait_for("the note to go", |node| is_noted(node).is_none().then_some(())).await;
        node.wait_for("the loss", |node| (node.ledger.total_at(LossPoint::DnsWorker) == 1).then_some(())).await;
    });
}

/// Children of this process that are workers.
fn workers() -> Vec<u32> {
    let own = std::process::id();
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let children = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    let pids: Vec<u32> =
        children.flat_map(|line| line.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect();
    let is_worker = |pid: &u32| {
        *pid != own
            && fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "trilobite-worke")
    };
    pids.into_iter().filter(is_worker).collect()
}
