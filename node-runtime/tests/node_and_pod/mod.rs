//! A node and a pod for tests of flows: two network namespaces without names, joined by a veth whose host end is down
//! until the test watches it. They are gone with the value.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    ops::{Deref, DerefMut},
    os::fd::AsRawFd,
    process::Command,
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};
use trilobite_node::layers::network::{
    enrich::{Enricher, WatchTarget},
    flow::{Flow, Forwarded, Interface},
    netlink,
    sources::{
        FlowSink,
        packet_hooks::PacketHooks,
        tcx::{EndedFlows, IdleTimeouts, MapSizes, TcxPrograms},
    },
};
use trilobite_node::{kernel::probe, problem::Problem};

/// The host end of the veth.
pub const HOST_END: &str = "trbveth0";
/// Addresses of the node and the pod, in both families.
pub const NODE: [&str; 2] = ["10.254.7.1", "fd00:254:7::1"];
/// See `NODE`.
pub const POD: [&str; 2] = ["10.254.7.2", "fd00:254:7::2"];

/// Two namespaces. The thread that creates it stays in the node's.
pub struct NodeAndPod {
    pod: File,
}

/// Counters of an interface: packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Received.
    pub rx: (u64, u64),
    /// Sent.
    pub tx: (u64, u64),
}

/// The counts of a flow: all flows of these tests are forwarded.
pub fn counts(flow: &Flow) -> &Forwarded {
    flow.forwarded().expect("a forwarded flow")
}

impl NodeAndPod {
    /// Moves this thread into a new node; the interfaces are down.
    pub fn new() -> Self {
        let pod = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let pod = pod.join().unwrap();
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
        let link = Self { pod };
        link.link(None);
        ip(&["link", "set", "lo", "up"]);
        link.in_pod(|| ip(&["link", "set", "lo", "up"]));
        link
    }

    /// Joins the two; the interfaces are down.
    fn link(&self, index: Option<u32>) {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.pod.as_raw_fd());
        let index = index.map(|index| index.to_string());
        let mut arguments = vec!["link", "add", HOST_END];
        arguments.extend(index.iter().flat_map(|index| ["index", index.as_str()]));
        arguments.extend(["type", "veth", "peer", "name", "trbeth0", "netns", &path]);
        ip(&arguments);
        for (address, prefix) in NODE.iter().zip(["24", "64"]) {
            ip(&["addr", "add", &format!("{address}/{prefix}"), "dev", HOST_END, "nodad"]);
        }
        self.in_pod(|| {
            for (address, prefix) in POD.iter().zip(["24", "64"]) {
                ip(&["addr", "add", &format!("{address}/{prefix}"), "dev", "trbeth0", "nodad"]);
            }
        });
    }

    /// Deletes the link and creates another with the same index and name, down.
    pub fn link_anew(&self) {
        let index = self.target().interface.index;
        ip(&["link", "del", HOST_END]);
        self.link(Some(index));
    }

    /// Creates another link between the two, up on the node's side.
    pub fn another_link(&self, name: &str) {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.pod.as_raw_fd());
        ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("p{name}"), "netns", &path]);
        ip(&["link", "set", name, "up"]);
    }

    /// Adds a neighbour behind the link that answers nothing.
    pub fn silent_neighbour(&self) -> IpAddr {
        ip(&["neigh", "add", "10.254.7.9", "lladdr", "02:00:00:00:00:09", "dev", HOST_END]);
        "10.254.7.9".parse().unwrap()
    }

    /// Brings both ends up; every packet from here on can be counted. The host's end goes last, so that it has its carrier
    /// at once: an end that waits for it drops, behind the programs, what it is given to send, and does not count it.
    pub fn up(&self) {
        self.in_pod(|| ip(&["link", "set", "trbeth0", "up"]));
        ip(&["link", "set", HOST_END, "up"]);
        self.in_pod(|| {
            while !shown("trbeth0").contains("state UP") {
                thread::sleep(Duration::from_millis(5));
            }
        });
    }

    /// Takes both ends down, so that nothing is counted any more. The host's end goes first: what it still sent to an end
    /// that is down, as the kernel does to ask for a neighbour, would pass the programs and then be dropped uncounted.
    pub fn down(&self) {
        ip(&["link", "set", HOST_END, "down"]);
        self.in_pod(|| ip(&["link", "set", "trbeth0", "down"]));
    }

    /// Runs work in the pod and waits for it.
    pub fn in_pod<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.begin_in_pod(work).join().unwrap()
    }

    /// Starts work in the pod.
    pub fn begin_in_pod<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = self.pod.try_clone().unwrap();
        thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// Brings both ends up with the host end watched, so that its programs see every packet.
    pub fn watched(&self, sizes: MapSizes) -> Watcher {
        let mut watcher = Watcher::new();
        let problems = watcher.watch(sizes, &[self.target()], &mut |_| {}).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        self.up();
        watcher
    }

    /// The host end as a target.
    pub fn target(&self) -> WatchTarget {
        let link = netlink::links().unwrap().into_iter().find(|link| link.name == HOST_END).unwrap();
        assert_eq!(link.kind, "veth");
        WatchTarget { interface: Interface { index: link.index, name: link.name }, pod: None, behind: true }
    }

    /// The interface's own counters.
    pub fn counted(&self) -> Counted {
        let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{HOST_END}:"))).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        Counted { rx: (numbers[1], numbers[0]), tx: (numbers[9], numbers[8]) }
    }

    /// Sends `bytes` by TCP from the node to the pod, or from the pod to the node, in big writes.
    pub fn tcp(&self, family: usize, to_pod: bool, bytes: usize) {
        let address: IpAddr = POD[family].parse().unwrap();
        let listener = self.in_pod(move || TcpListener::bind(SocketAddr::new(address, 0)).unwrap());
        let there = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            if to_pod { receive(&mut stream) } else { send(&mut stream, bytes) }
        });
        let mut stream = TcpStream::connect(there).unwrap();
        let moved = if to_pod { send(&mut stream, bytes) } else { receive(&mut stream) };
        drop(stream);
        assert_eq!((moved, server.join().unwrap()), (bytes, bytes));
    }

    /// Sends datagrams of each of `sizes` from the node to the pod, which answers each.
    pub fn udp(&self, family: usize, sizes: &[usize]) {
        let address: IpAddr = POD[family].parse().unwrap();
        let server = self.in_pod(move || UdpSocket::bind(SocketAddr::new(address, 0)).unwrap());
        let client = UdpSocket::bind(SocketAddr::new(NODE[family].parse().unwrap(), 0)).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut datagram = vec![7; 65507];
        for size in sizes {
            client.send(&datagram[..*size]).unwrap();
            let (length, from) = server.recv_from(&mut datagram).unwrap();
            server.send_to(&datagram[..length], from).unwrap();
            assert_eq!(client.recv(&mut datagram).unwrap(), *size);
        }
    }

    /// Sends a datagram from each of `sockets` sockets of the node to a closed port of the pod.
    pub fn scatter(&self, family: usize, sockets: usize) {
        let there = SocketAddr::new(POD[family].parse().unwrap(), 9);
        for _ in 0..sockets {
            let socket = UdpSocket::bind(SocketAddr::new(NODE[family].parse().unwrap(), 0)).unwrap();
            socket.send_to(b"lost", there).unwrap();
        }
    }
}

/// Programs and enricher, as the layer combines them.
pub struct Watcher {
    pub programs: TcxPrograms,
    pub enricher: Enricher,
}

impl Watcher {
    pub fn new() -> Self {
        // TRILOBITE_AVOID_ATTACHING_BY=tcx runs the same tests with filters of clsact.
        let hooks = PacketHooks::new(probe::packet_attach(), None);
        Self { programs: TcxPrograms::new(hooks), enricher: Enricher::new(1) }
    }

    pub fn watch(
        &mut self,
        sizes: MapSizes,
        targets: &[WatchTarget],
        emit: &mut dyn FnMut(Flow),
    ) -> Result<BTreeMap<u32, Problem>, Problem> {
        self.programs.watch(sizes, targets, &mut FlowSink { enricher: &mut self.enricher, emit })
    }

    pub fn drain(&mut self, emit: &mut dyn FnMut(Flow)) {
        self.programs.drain(&mut FlowSink { enricher: &mut self.enricher, emit });
    }

    pub fn end_idle(&mut self, timeouts: IdleTimeouts, emit: &mut dyn FnMut(Flow)) -> Result<EndedFlows, Problem> {
        self.programs.end_idle(timeouts, &mut FlowSink { enricher: &mut self.enricher, emit })
    }

    pub fn stop(&mut self, emit: &mut dyn FnMut(Flow)) {
        self.programs.stop(&mut FlowSink { enricher: &mut self.enricher, emit });
    }

    pub fn is_crowded(&self) -> bool {
        self.programs.is_crowded(&self.enricher)
    }
}

impl Deref for Watcher {
    type Target = TcxPrograms;

    fn deref(&self) -> &TcxPrograms {
        &self.programs
    }
}

impl DerefMut for Watcher {
    fn deref_mut(&mut self) -> &mut TcxPrograms {
        &mut self.programs
    }
}

/// Sends an echo request with so many bytes of payload from this thread's namespace; its kernel drops the answer.
pub fn send_echo(to: IpAddr, id: u16, bytes: usize) {
    let (family, protocol, kind) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128),
    };
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    message[4..6].copy_from_slice(&id.to_be_bytes());
    message.resize(8 + bytes, 0);
    if to.is_ipv4() {
        // Of version 6, the kernel writes the checksum.
        let sum: u32 =
            message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        message[2..4].copy_from_slice(&(!folded as u16).to_be_bytes());
    }
    let socket = socket_with(family, SocketType::RAW, SocketFlags::empty(), Some(protocol)).unwrap();
    sendto(&socket, &message, SendFlags::empty(), &SocketAddr::new(to, 0)).unwrap();
}

fn send(stream: &mut TcpStream, bytes: usize) -> usize {
    let block = vec![5; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len());
        stream.write_all(&block[..now]).unwrap();
        left -= now;
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    bytes
}

fn receive(stream: &mut TcpStream) -> usize {
    let mut block = vec![0; 1 << 20];
    let mut got = 0;
    loop {
        match stream.read(&mut block).unwrap() {
            0 => return got,
            more => got += more,
        }
    }
}

fn shown(link: &str) -> String {
    let output = Command::new("ip").args(["-o", "link", "show", "dev", link]).output().expect("iproute2 is installed");
    String::from_utf8(output.stdout).unwrap()
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
