//! Summaries and ports of flows.

use trilobite_node_ebpf::FlowReason;

use super::{samples::*, *};
use crate::layers::network::{icmp_error::IcmpError, tcp_flags::TcpFlags};

#[test]
fn summary_matches_hubble_and_totals_are_shown_at_the_end() {
    let mut flow = syn();
    assert_eq!(flow.summary(), "TCP Flags: SYN");
    forwarded(&mut flow).reason = FlowReason::End;
    assert_eq!(flow.summary(), "TCP ended: 1 packets, 74 bytes");
    forwarded(&mut flow).reason = FlowReason::Active;
    assert_eq!(flow.summary(), "TCP Flags: SYN");
    forwarded(&mut flow).flags = TcpFlags::default();
    assert_eq!(flow.summary(), "TCP so far: 1 packets, 74 bytes");
    forwarded(&mut flow).reason = FlowReason::New;
    flow.l4 = L4::Udp;
    assert_eq!(flow.summary(), "UDP");
    forwarded(&mut flow).reason = FlowReason::Error;
    forwarded(&mut flow).icmp_error = Some(IcmpError { is_v6: false, kind: 3, code: 3 });
    assert_eq!(flow.summary(), "UDP refused: port unreachable");
}

#[test]
fn summary_of_a_drop_names_the_kernels_reason_and_place() {
    assert_eq!(drop_by_policy().summary(), "TCP Flags: SYN; kernel NETFILTER_DROP at nft_do_chain; 3 packets");
    assert_eq!(drop_for_another_reason().summary(), "TCP Flags: SYN; kernel QDISC_DROP at dev_hard_start_xmit");
    // A kernel before 5.17 has no reason.
    let mut old = Flow { l4: L4::Udp, ..drop_by_policy() };
    if let Event::Dropped(dropped) = &mut old.event {
        (dropped.kernel_reason, dropped.packets) = ("".into(), 1);
    }
    assert_eq!(old.summary(), "UDP; kernel at nft_do_chain");
}

#[test]
fn verdict_and_type_come_from_the_event() {
    use trilobite_api::flow::Verdict;
    for (flow, verdict, kind, sub_type) in [
        (syn(), Verdict::Forwarded, 4, 3),
        (drop_by_policy(), Verdict::Dropped, 1, 133),
        (drop_for_another_reason(), Verdict::Dropped, 1, 230),
        (policy_verdict(PolicyAction::Allowed), Verdict::Forwarded, 5, 0),
        (policy_verdict(PolicyAction::Denied), Verdict::Dropped, 5, 0),
        (policy_verdict(PolicyAction::Audit), Verdict::Audit, 5, 0),
        (http(L7FlowType::Response, 503), Verdict::Forwarded, 129, 0),
        (dns(L7FlowType::Request, 0), Verdict::Forwarded, 129, 0),
    ] {
        assert_eq!((flow.event.verdict(), flow.event.kind()), (verdict, EventKind { kind, sub_type }), "{flow:?}");
    }
}

#[test]
fn protocol_without_ports_has_no_port() {
    assert!(syn().has_port(&[80]) && syn().has_port(&[40000]) && !syn().has_port(&[0]));
    let ping = L4::Icmp { v6: false, kind: 8, code: 0 };
    for l4 in [ping, L4::Other(47)] {
        let mut flow = Flow { l4, ..syn() };
        flow.source.set_port(0);
        assert!(!flow.has_port(&[0]) && flow.source_port().is_none(), "{l4:?}");
    }
}

#[test]
fn summary_of_a_request_and_its_response_is_hubbles() {
    use L7FlowType::{Request, Response};
    for (flow, expected) in [
        (http(Request, 0), "HTTP/1.1 GET http://cart.store/items?id=7"),
        (http(Response, 503), "HTTP/1.1 503 12ms (GET http://cart.store/items?id=7)"),
        (dns(Request, 0), "DNS Query shop.example.com. A"),
        (
            dns(Response, 0),
            r#"DNS Answer "192.0.2.7,192.0.2.8" CNAMEs: "front.example.net." TTL: 30 (Query shop.example.com. A)"#,
        ),
        (dns(Response, 3), "DNS Answer RCode: Non-Existent Domain TTL: 0 (Query shop.example.com. A)"),
    ] {
        assert_eq!(flow.summary(), expected);
    }
}

#[test]
fn bytes_of_a_request_count_its_texts() {
    let mut long = http(L7FlowType::Request, 0);
    let before = long.bytes();
    assert!(before > syn().bytes());
    if let Event::L7(l7) = &mut long.event
        && let L7Record::Http(http) = &mut l7.record
    {
        http.url.push_str(&"x".repeat(1000));
        http.headers.push(("cookie".into(), "y".repeat(500)));
    }
    assert!((before + 1500..before + 1700).contains(&long.bytes()));
}
