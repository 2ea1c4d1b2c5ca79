//! Two pods of a node for tests of drops: three network namespaces without names, joined by routed veths as a point-to-point CNI
//! makes them. They are gone with the value.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::Write,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sched::{CloneFlags, setns, unshare};
use trilobite_node::{
    identity::Pod,
    layers::network::{
        decode::Transport,
        directory::{DirectoryTable, NodePod, PublishedService, ServicePort},
        endpoint::{Endpoint, Service},
        enrich::{Enricher, WatchTarget},
        flow::{Dropped, Event, Flow, Interface},
        netlink,
        sources::{
            FlowSink,
            drops::{DropSource, Interest, READ_OUT_AFTER},
        },
        verdict::PolicyEvaluator,
    },
};

/// Addresses of the pod `front`, in both families; its host end is `va`.
pub const FRONT: [&str; 2] = ["10.250.0.1", "fd77::1"];
/// Addresses of the pod `cart`; its host end is `vb`.
pub const CART: [&str; 2] = ["10.250.0.2", "fd77::2"];
/// A Service without endpoints: no rule sends to a backend.
pub const SERVICE: &str = "10.96.0.5";

/// The thread that creates it stays in the node's namespace.
pub struct TwoPods {
    front: File,
    cart: File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodOf {
    Front,
    Cart,
}

impl TwoPods {
    pub fn new() -> Self {
        let namespace = || {
            let made = thread::spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
                File::open("/proc/thread-self/ns/net").unwrap()
            });
            made.join().unwrap()
        };
        let pods = Self { front: namespace(), cart: namespace() };
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
        ip("link set lo up");
        for (pod, host_end, [v4, v6]) in [(PodOf::Front, "va", FRONT), (PodOf::Cart, "vb", CART)] {
            let path = format!("/proc/{}/fd/{}", std::process::id(), pods.file(pod).as_raw_fd());
            ip(&format!("link add {host_end} type veth peer name eth0 netns {path}"));
            set_sysctl(&format!("net/ipv4/conf/{host_end}/rp_filter"), "0");
            pods.inside(pod, move || {
                for line in ["link set lo up", "link set eth0 up"] {
                    ip(line);
                }
                ip(&format!("addr add {v4}/32 dev eth0"));
                ip("route add 169.254.1.1 dev eth0");
                ip("route add default via 169.254.1.1");
                ip(&format!("-6 addr add {v6}/128 dev eth0 nodad"));
                ip("-6 route add default via fe80::1 dev eth0");
            });
            ip(&format!("link set {host_end} up"));
            ip(&format!("addr add 169.254.1.1/32 dev {host_end}"));
            ip(&format!("-6 addr add fe80::1/64 dev {host_end} nodad"));
            ip(&format!("route add {v4}/32 dev {host_end}"));
            ip(&format!("-6 route add {v6}/128 dev {host_end}"));
        }
        set_sysctl("net/ipv4/conf/all/rp_filter", "0");
        set_sysctl("net/ipv4/ip_forward", "1");
        set_sysctl("net/ipv6/conf/all/forwarding", "1");
        // Both ends of a new veth ask for neighbours: the first packets shall not wait for that.
        thread::sleep(Duration::from_millis(200));
        pods
    }

    fn file(&self, pod: PodOf) -> &File {
        match pod {
            PodOf::Front => &self.front,
            PodOf::Cart => &self.cart,
        }
    }

    /// Runs work in a pod and waits for it.
    pub fn inside<T: Send + 'static>(&self, pod: PodOf, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.begin_inside(pod, work).join().unwrap()
    }

    pub fn begin_inside<T: Send + 'static>(
        &self,
        pod: PodOf,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.file(pod).try_clone().unwrap();
        thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// Sends datagrams of 20 bytes from `front`.
    pub fn send_udp(&self, family: usize, to: SocketAddr, packets: usize) {
        self.inside(PodOf::Front, move || {
            let socket = UdpSocket::bind((FRONT[family], 0)).unwrap();
            for _ in 0..packets {
                // A filter on the way out answers the call itself.
                let _ = socket.send_to(&[7; 20], to);
            }
        });
    }

    /// The inode of a pod's network namespace.
    pub fn namespace(&self, pod: PodOf) -> u32 {
        u32::try_from(self.file(pod).metadata().unwrap().ino()).unwrap()
    }

    /// Counts drops of both pods, named as the cluster would.
    pub fn watched(&self) -> DropWatcher {
        let mut watcher = DropWatcher::new();
        let table = DirectoryTable::new("node1");
        let mut interfaces = HashMap::new();
        let mut interest = Interest::default();
        for (pod, name, host_end, addresses) in
            [(PodOf::Front, "front", "va", FRONT), (PodOf::Cart, "cart", "vb", CART)]
        {
            let ips: Vec<IpAddr> = addresses.map(|address| address.parse().unwrap()).to_vec();
            let described = Pod {
                uid: name.into(),
                name: name.into(),
                namespace: "shop".into(),
                node: "node1".into(),
                ips: ips.clone(),
                ..Pod::default()
            };
            table.put_pod(&NodePod { pod: described.clone(), ..NodePod::default() });
            let link = netlink::links().unwrap().into_iter().find(|link| link.name == host_end).unwrap();
            let interface = Interface { index: link.index, name: link.name };
            watcher.enricher.watch(&WatchTarget { interface, pod: Some(Arc::new(described)), behind: true });
            interfaces.insert(self.namespace(pod), link.index);
            interest.addresses.extend(ips);
            interest.namespaces.insert(self.namespace(pod));
        }
        table.put_service(no_backends());
        watcher.enricher.directories = vec![Arc::new(table)];
        watcher.enricher.local = netlink::addresses().unwrap();
        watcher.source.watch(false, &interest, interfaces).unwrap();
        watcher
    }
}

fn no_backends() -> PublishedService {
    let endpoint = Arc::new(Endpoint::service("shop", "till", [("app", "till")].into_iter()));
    PublishedService {
        service: Service { name: "till".into(), namespace: "shop".into(), endpoint },
        cluster_ips: vec![SERVICE.parse().unwrap()],
        external_ips: Vec::new(),
        ports: vec![ServicePort { transport: Transport::Tcp, port: 80, node_port: None, target: None }],
    }
}

/// The source, the enricher and what the policies say, as the layer combines them.
pub struct DropWatcher {
    pub source: DropSource,
    pub enricher: Enricher,
    pub policies: PolicyEvaluator,
}

impl DropWatcher {
    pub fn new() -> Self {
        let policies = PolicyEvaluator::new("node1");
        Self { source: DropSource::default(), enricher: Enricher::new(1), policies }
    }

    fn with_sink(&mut self, work: impl FnOnce(&mut DropSource, &mut FlowSink<'_>)) -> Vec<Flow> {
        let mut flows = Vec::new();
        let Self { source, enricher, policies } = self;
        let emit = &mut |mut flow: Flow| {
            let verdict = policies.evaluate(&mut flow);
            flows.extend(verdict);
            flows.push(flow);
        };
        let mut sink = FlowSink { enricher, emit };
        work(source, &mut sink);
        if let Some(lookup) = source.unknown_places() {
            source.learn(lookup.read(), &mut sink);
        }
        flows
    }

    /// First drops since the last call.
    pub fn first_drops(&mut self) -> Vec<Flow> {
        self.with_sink(DropSource::drain)
    }

    /// First drops, and the counts of those that followed.
    pub fn all_drops(&mut self) -> Vec<Flow> {
        thread::sleep(Duration::from_millis(20));
        let mut flows = self.first_drops();
        self.source.change_over();
        thread::sleep(READ_OUT_AFTER);
        flows.extend(self.with_sink(DropSource::read_out));
        flows
    }

    pub fn stop(&mut self) -> Vec<Flow> {
        self.with_sink(DropSource::stop)
    }
}

pub fn dropped(flow: &Flow) -> &Dropped {
    match &flow.event {
        Event::Dropped(dropped) => dropped,
        other => panic!("not a drop: {other:?}"),
    }
}

/// Packets and bytes of drops.
pub fn sum<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> (u64, u64) {
    flows.into_iter().map(dropped).fold((0, 0), |sum, dropped| (sum.0 + dropped.packets, sum.1 + dropped.bytes))
}

/// Each sort of drop: the kernel's reason, the function, Hubble's number, and the pods.
pub fn sorts(flows: &[Flow]) -> BTreeSet<String> {
    let sort = |flow: &Flow| {
        let dropped = dropped(flow);
        let function = dropped.place.split('.').next().unwrap_or_default().to_owned();
        let end = |endpoint: &Endpoint| match endpoint.pod.as_str() {
            "" => endpoint.reserved_name().unwrap_or("service").to_owned(),
            pod => pod.to_owned(),
        };
        let (from, to) = (end(&flow.source_endpoint), end(&flow.destination_endpoint));
        format!("{} at {function} {} {from} -> {to}", dropped.kernel_reason, dropped.sub_type)
    };
    flows.iter().map(sort).collect()
}

pub fn ip(line: &str) {
    execute(Command::new("ip").args(line.split_whitespace()), line);
}

/// Writes rules of the calling thread's namespace.
pub fn nft(rules: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nftables is installed");
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft: {rules}");
}

/// Packets and bytes of the only counter of the calling thread's namespace.
pub fn nft_counter() -> (u64, u64) {
    let listed = Command::new("nft").args(["list", "ruleset"]).output().unwrap().stdout;
    let text = String::from_utf8(listed).unwrap();
    let mut words = text.split_whitespace().skip_while(|word| *word != "counter").skip(2);
    let packets = words.next().unwrap().parse().unwrap();
    (packets, words.nth(1).unwrap().parse().unwrap())
}

/// A chain of one hook with one rule, for both families.
pub fn chain(hook: &str, rule: &str) -> String {
    format!("flush ruleset\ntable inet test {{\nchain c {{\ntype filter hook {hook} priority 0; {rule}\n}}\n}}\n")
}

pub fn set_sysctl(path: &str, value: &str) {
    fs::write(format!("/proc/sys/{path}"), value).unwrap();
}

fn execute(command: &mut Command, line: &str) {
    let output = command.output().expect("it is installed");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
