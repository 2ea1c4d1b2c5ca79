//! Why packets of pods are dropped: each cause that can be made on this machine, with its reason, place, pods and count.
//! Needs root and a kernel from 5.17 on: `cargo test -p trilobite-node --test drops -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout, unsafe_code)]

mod two_pods;

use std::{
    ffi::CString,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

use trilobite_node::layers::network::{
    flow::{Flow, TrafficDirection},
    netlink,
};
use two_pods::{CART, DropWatcher, FRONT, PodOf, SERVICE, TwoPods, chain, dropped, ip, nft, set_sysctl, sorts, sum};

const PACKETS: usize = 5;

fn cart(family: usize) -> SocketAddr {
    SocketAddr::new(CART[family].parse().unwrap(), 9000)
}

/// Sends to `cart` in both families; the drops are all of one sort.
fn assert_sort(pods: &TwoPods, watcher: &mut DropWatcher, cause: &str, expected: &str) -> Vec<Flow> {
    watcher.all_drops();
    let mut all = Vec::new();
    for family in [0, 1] {
        pods.send_udp(family, cart(family), PACKETS);
        let flows = watcher.all_drops();
        println!("{cause}: {:?}", sorts(&flows));
        assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), [expected], "{cause}");
        assert_eq!(sum(&flows).0, PACKETS as u64, "{cause}");
        // IP, UDP and 20 bytes.
        assert_eq!(sum(&flows).1, PACKETS as u64 * [48, 68][family], "{cause}");
        all.extend(flows);
    }
    all
}

#[test]
#[ignore = "needs root"]
fn rule_of_netfilter_is_netfilters_at_each_hook() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    let expected = "NETFILTER_DROP at nft_do_chain 221 front -> cart";
    for hook in ["prerouting", "forward", "postrouting"] {
        nft(&chain(hook, "udp dport 9000 drop;"));
        let flows = assert_sort(&pods, &mut watcher, hook, expected);
        let interface = if hook == "postrouting" { "vb" } else { "va" };
        assert!(flows.iter().all(|flow| flow.interface.name == interface), "{hook}: {flows:?}");
    }
    nft(&chain("forward", "udp dport 9000 reject with icmpx type port-unreachable;"));
    assert_sort(&pods, &mut watcher, "reject", expected);
    nft("flush ruleset");
    for (pod, hook, direction) in
        [(PodOf::Cart, "input", TrafficDirection::Ingress), (PodOf::Front, "output", TrafficDirection::Egress)]
    {
        pods.inside(pod, move || nft(&chain(hook, "udp dport 9000 drop;")));
        let flows = assert_sort(&pods, &mut watcher, hook, expected);
        assert!(flows.iter().all(|flow| flow.direction == direction), "{hook}: {flows:?}");
        pods.inside(pod, || nft("flush ruleset"));
    }
}

#[test]
#[ignore = "needs root"]
fn rule_of_legacy_iptables_is_netfilters_too() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    let rule = ["-A", "FORWARD", "-p", "udp", "--dport", "9000", "-j", "DROP"];
    for (family, iptables) in [(0, "iptables-legacy"), (1, "ip6tables-legacy")] {
        assert!(std::process::Command::new(iptables).args(rule).status().unwrap().success(), "{iptables}");
        pods.send_udp(family, cart(family), PACKETS);
        let flows = watcher.all_drops();
        let expected = "NETFILTER_DROP at nf_hook_slow 221 front -> cart";
        assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), [expected], "{iptables}");
        assert_eq!(sum(&flows).0, PACKETS as u64, "{iptables}");
    }
}

#[test]
#[ignore = "needs root"]
fn program_at_an_interface_is_named_by_its_direction() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    for (direction, interface, expected) in [
        (libbpf_sys::BPF_TCX_INGRESS, "va", "TC_INGRESS at __netif_receive_skb_core 222 front -> cart"),
        (libbpf_sys::BPF_TCX_EGRESS, "vb", "TC_EGRESS at __dev_queue_xmit 223 front -> cart"),
    ] {
        let link = drop_udp_at(interface, direction);
        assert_sort(&pods, &mut watcher, interface, expected);
        drop(link);
    }
}

#[test]
#[ignore = "needs root"]
fn port_without_a_listener_is_a_failed_lookup() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    for (family, udp, tcp) in [(0, "__udp4_lib_rcv", "tcp_v4_rcv"), (1, "__udp6_lib_rcv", "tcp_v6_rcv")] {
        pods.send_udp(family, cart(family), PACKETS);
        let flows = watcher.all_drops();
        assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), [format!("NO_SOCKET at {udp} 178 front -> cart")]);
        assert_eq!(sum(&flows).0, PACKETS as u64);
        assert!(flows.iter().all(|flow| flow.direction == TrafficDirection::Ingress), "{flows:?}");
        let refused = pods.inside(PodOf::Front, move || TcpStream::connect(cart(family)).unwrap_err());
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let flows = watcher.all_drops();
        assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), [format!("NO_SOCKET at {tcp} 178 front -> cart")]);
        assert_eq!((flows.len(), flows[0].summary()), (1, format!("TCP Flags: SYN; kernel NO_SOCKET at {tcp}")));
    }
}

#[test]
#[ignore = "needs root"]
fn routes_that_lead_nowhere_are_failed_lookups_of_a_route() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    for (family, there, network) in
        [(0, "10.250.9.9:9000", "10.250.9.0/24"), (1, "[2001:db8::9]:9000", "2001:db8::/64")]
    {
        let there: SocketAddr = there.parse().unwrap();
        for (route, expected) in [
            ("", ["IP_INNOROUTES at ip_error", "IP_INNOROUTES at ip6_pkt_discard"]),
            ("blackhole", ["NOT_SPECIFIED at ip_error", "NOT_SPECIFIED at dst_discard_out"]),
            ("unreachable", ["NOT_SPECIFIED at ip_error", "IP_INNOROUTES at ip6_pkt_discard"]),
            ("prohibit", ["NOT_SPECIFIED at ip_error", "IP_INNOROUTES at ip6_pkt_prohibit"]),
        ] {
            let change = |what: &str| ip(&format!("{} route {what} {route} {network}", ["-4", "-6"][family]));
            if !route.is_empty() {
                change("add");
            }
            pods.send_udp(family, there, PACKETS);
            let flows = watcher.all_drops();
            let expected = format!("{} 169 front -> world", expected[family]);
            assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), [expected], "{route}");
            assert_eq!(sum(&flows).0, PACKETS as u64, "{route}");
            if !route.is_empty() {
                change("del");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn packet_that_may_go_no_further_or_is_too_big_says_so() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    pods.inside(PodOf::Front, || {
        let socket = UdpSocket::bind((FRONT[0], 0)).unwrap();
        socket.set_ttl(1).unwrap();
        socket.send_to(&[7; 20], cart(0)).unwrap();
    });
    let flows = watcher.all_drops();
    assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), ["IP_INHDR at ip_forward 196 front -> cart"]);
    ip("link set vb mtu 1280");
    pods.inside(PodOf::Front, || {
        let socket = UdpSocket::bind((FRONT[0], 0)).unwrap();
        let always: libc::c_int = libc::IP_PMTUDISC_DO;
        // SAFETY: the option is an int, which lives through the call.
        let answer = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                (&raw const always).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(answer, 0);
        socket.send_to(&[7; 1400], cart(0)).unwrap();
    });
    let flows = watcher.all_drops();
    assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), ["PKT_TOO_BIG at ip_forward 136 front -> cart"]);
    assert_eq!(sum(&flows), (1, 1428));
}

#[test]
#[ignore = "needs root"]
fn wrong_source_and_silent_neighbour_are_told_apart() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    // The pod knows its gateway, which would not answer the wrong address.
    pods.send_udp(0, cart(0), 1);
    watcher.all_drops();
    set_sysctl("net/ipv4/conf/va/rp_filter", "1");
    pods.inside(PodOf::Front, || {
        ip("addr add 10.250.0.99/32 dev eth0");
        UdpSocket::bind(("10.250.0.99", 0)).unwrap().send_to(&[7; 20], cart(0)).unwrap();
    });
    let flows = watcher.all_drops();
    let expected = "IP_RPFILTER at ip_rcv_finish_core 132 world -> cart";
    assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), [expected]);
    set_sysctl("net/ipv4/conf/va/rp_filter", "0");

    ip("route add 10.250.0.50/32 dev vb");
    set_sysctl("net/ipv4/neigh/vb/retrans_time_ms", "50");
    pods.send_udp(0, "10.250.0.50:9000".parse().unwrap(), 3);
    thread::sleep(Duration::from_millis(600));
    let flows = watcher.all_drops();
    assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), ["NEIGH_FAILED at neigh_invalidate 150 front -> world"]);
    assert_eq!(sum(&flows).0, 3);
    ip("-6 route add 2001:db8::/64 dev vb");
    set_sysctl("net/ipv6/neigh/vb/retrans_time_ms", "50");
    pods.send_udp(1, "[2001:db8::50]:9000".parse().unwrap(), 3);
    thread::sleep(Duration::from_millis(600));
    let flows = watcher.all_drops();
    assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), ["NOT_SPECIFIED at neigh_invalidate 150 front -> world"]);
    assert_eq!(sum(&flows).0, 3);
}

#[test]
#[ignore = "needs root"]
fn rejected_connection_to_a_service_has_no_backend() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    ip("route add 10.96.0.0/16 dev vb");
    nft(&chain("forward", &format!("ip daddr {SERVICE} tcp dport 80 reject with tcp reset;")));
    let service: IpAddr = SERVICE.parse().unwrap();
    let refused = pods.inside(PodOf::Front, move || TcpStream::connect((service, 80)).unwrap_err());
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let flows = watcher.all_drops();
    assert_eq!(sorts(&flows).into_iter().collect::<Vec<_>>(), ["NETFILTER_DROP at nft_do_chain 158 front -> service"]);
    assert_eq!(flows[0].destination_service.as_ref().map(|service| service.name.as_str()), Some("till"));
    assert_eq!(dropped(&flows[0]).sub_type, 158);
}

#[test]
#[ignore = "needs root"]
fn ordinary_connections_are_no_drops() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    for family in [0, 1] {
        let listener = pods.inside(PodOf::Cart, move || TcpListener::bind((CART[family], 9000)).unwrap());
        let server = thread::spawn(move || {
            for stream in listener.incoming().take(20) {
                let mut stream = stream.unwrap();
                let mut question = [0; 8];
                stream.read_exact(&mut question).unwrap();
                stream.write_all(&question).unwrap();
                // Every other connection is closed with unread bytes, and ends in a RST.
            }
        });
        pods.inside(PodOf::Front, move || {
            for number in 0..20 {
                let mut stream = TcpStream::connect(cart(family)).unwrap();
                stream.write_all(b"question").unwrap();
                if number % 2 == 0 {
                    stream.read_exact(&mut [0; 8]).unwrap();
                } else {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        server.join().unwrap();
    }
    let server = pods.inside(PodOf::Cart, || UdpSocket::bind((CART[0], 9000)).unwrap());
    pods.send_udp(0, cart(0), 20);
    // What is left in the queue of a socket that is closed was delivered.
    drop(server);
    assert!(pods.inside(PodOf::Front, || ping(CART[0])), "no answer to a ping");
    thread::sleep(Duration::from_millis(200));
    let flows = watcher.all_drops();
    assert_eq!(sorts(&flows), Default::default(), "{flows:?}");
}

fn ping(address: &str) -> bool {
    let ping = std::process::Command::new("ping").args(["-c", "1", "-W", "2", address]).output();
    ping.map_or(true, |output| output.status.success())
}

/// Drops UDP of both families at an interface, as the programs of eBPF CNIs do.
fn drop_udp_at(interface: &str, direction: u32) -> OwnedFd {
    let index = netlink::links().unwrap().into_iter().find(|link| link.name == interface).unwrap().index;
    let instruction = |code: u8, (to, from): (u8, u8), offset: i16, value: i32| {
        let mut made = libbpf_sys::bpf_insn { code, off: offset, imm: value, ..Default::default() };
        made.set_dst_reg(to);
        made.set_src_reg(from);
        made
    };
    let program = [
        instruction(0xbf, (6, 1), 0, 0),      // r6 = the packet, for the loads
        instruction(0x28, (0, 0), 0, 12),     // r0 = protocol of the link header
        instruction(0x15, (0, 0), 3, 0x86dd), // IPv6: to its load
        instruction(0x55, (0, 0), 4, 0x0800), // not IP: to the end
        instruction(0x30, (0, 0), 0, 14 + 9), // r0 = protocol of the IPv4 header
        instruction(0x05, (0, 0), 1, 0),      // over the next load
        instruction(0x30, (0, 0), 0, 14 + 6), // r0 = protocol of the IPv6 header
        instruction(0x15, (0, 0), 2, 17),     // UDP: to the drop
        instruction(0xb7, (0, 0), 0, -1),     // r0 = TCX_NEXT
        instruction(0x95, (0, 0), 0, 0),      // return
        instruction(0xb7, (0, 0), 0, 2),      // r0 = TC_ACT_SHOT
        instruction(0x95, (0, 0), 0, 0),      // return
    ];
    let (name, license) = (CString::new("drop_udp").unwrap(), CString::new("GPL").unwrap());
    // SAFETY: all pointers live through the calls; the descriptors that they return are owned here alone.
    unsafe {
        let loaded = libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            name.as_ptr(),
            license.as_ptr(),
            program.as_ptr(),
            program.len() as libbpf_sys::size_t,
            std::ptr::null_mut(),
        );
        assert!(loaded >= 0, "{}", std::io::Error::last_os_error());
        let loaded = OwnedFd::from_raw_fd(loaded);
        let link = libbpf_sys::bpf_link_create(loaded.as_raw_fd(), index.cast_signed(), direction, std::ptr::null());
        assert!(link >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(link)
    }
}
