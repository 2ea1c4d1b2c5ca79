//! Why a packet was dropped, in Hubble's words: decided here alone, from the kernel's reason and the function that dropped it. Pure.
//!
//! A reason alone does not tell: kernels free lost packets and copies that were delivered under one reason, or none. No drop is called
//! a policy's here: that needs the policies.

use trilobite_api::flow::DropReason;

/// What is known of the packet beside reason and place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DroppedPacket {
    /// A SYN without ACK.
    pub(super) opens_connection: bool,
    /// Its destination is a Service's own address: no backend took its place.
    pub(super) is_to_service: bool,
}

/// Hubble's reason, and what `event_type.sub_type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedReason {
    pub(super) reason: DropReason,
    pub(super) sub_type: i32,
}

/// Codes that Hubble does not use, for reasons that it has no true name for. API: never renumbered.
pub(in crate::layers::network) mod private_code {
    pub(in crate::layers::network) const OTHER: i32 = 220;
    pub(in crate::layers::network) const NETFILTER: i32 = 221;
    pub(in crate::layers::network) const TC_INGRESS: i32 = 222;
    pub(in crate::layers::network) const TC_EGRESS: i32 = 223;
    pub(in crate::layers::network) const SOCKET: i32 = 224;
    pub(in crate::layers::network) const TCP: i32 = 225;
    pub(in crate::layers::network) const IP: i32 = 226;
    pub(in crate::layers::network) const DEVICE: i32 = 227;
    pub(in crate::layers::network) const SECURITY: i32 = 228;
    pub(in crate::layers::network) const MEMORY: i32 = 229;
}

/// Packets that are freed for these reasons were not lost, or not by the pod: left in a queue when its socket was closed; on the wire for
/// another machine; a copy for a packet socket; a segment whose bytes had arrived before; a RST that did its work.
const IGNORED_REASONS: [&str; 13] = [
    "NOT_DROPPED_YET",
    "CONSUMED",
    "OTHERHOST",
    "PACKET_SOCK_ERROR",
    "QUEUE_PURGE",
    "SOCKET_CLOSE",
    "TCP_OFOMERGE",
    "TCP_OLD_ACK",
    "TCP_OLD_DATA",
    "TCP_OLD_SEQUENCE",
    "TCP_RESET",
    "TCP_RFC7323_PAWS_ACK",
    "TCP_TOO_OLD_ACK",
];

/// Functions that lose a packet under no reason of its own: all of those before 5.17, some of them since.
const PLACES: [(&str, Cause); 30] = [
    ("__dev_queue_xmit", Cause::Private(private_code::TC_EGRESS)),
    ("__netif_receive_skb_core", Cause::Private(private_code::TC_INGRESS)),
    ("__udp4_lib_rcv", Cause::Hubble(DropReason::SocketLookupFailed)),
    ("__udp6_lib_rcv", Cause::Hubble(DropReason::SocketLookupFailed)),
    ("arp_error_report", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("br_nf_forward_finish", Cause::Private(private_code::NETFILTER)),
    ("dst_discard", Cause::Hubble(DropReason::FibLookupFailed)),
    ("dst_discard_out", Cause::Hubble(DropReason::FibLookupFailed)),
    ("ip6_forward", Cause::Private(private_code::IP)),
    ("ip6_pkt_discard", Cause::Hubble(DropReason::FibLookupFailed)),
    ("ip6_pkt_drop", Cause::Hubble(DropReason::FibLookupFailed)),
    ("ip6_pkt_prohibit", Cause::Hubble(DropReason::FibLookupFailed)),
    ("ip_error", Cause::Hubble(DropReason::FibLookupFailed)),
    ("ip_forward", Cause::Private(private_code::IP)),
    ("ip_rcv_finish", Cause::Private(private_code::IP)),
    ("ip_rcv_finish_core", Cause::Private(private_code::IP)),
    ("ndisc_error_report", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("neigh_invalidate", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("neigh_resolve_output", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("nf_hook_slow", Cause::Private(private_code::NETFILTER)),
    ("nf_queue", Cause::Private(private_code::NETFILTER)),
    ("nf_reinject", Cause::Private(private_code::NETFILTER)),
    ("nft_do_chain", Cause::Private(private_code::NETFILTER)),
    ("nfqnl_reinject", Cause::Private(private_code::NETFILTER)),
    ("sch_handle_egress", Cause::Private(private_code::TC_EGRESS)),
    ("sch_handle_ingress", Cause::Private(private_code::TC_INGRESS)),
    ("udp_queue_rcv_one_skb", Cause::Private(private_code::SOCKET)),
    ("udpv6_queue_rcv_one_skb", Cause::Private(private_code::SOCKET)),
    ("udp_queue_rcv_skb", Cause::Private(private_code::SOCKET)),
    ("udpv6_queue_rcv_skb", Cause::Private(private_code::SOCKET)),
];

/// Functions that free the ends of ordinary TCP connections, too: without a reason only a SYN was lost there.
const PLACES_OF_SYN: [&str; 2] = ["tcp_v4_rcv", "tcp_v6_rcv"];

/// Reasons whose names tell Hubble's reason wherever they are given.
const REASONS: [(&str, Cause); 45] = [
    ("BPF_CGROUP_EGRESS", Cause::Private(private_code::SECURITY)),
    ("CAKE_FLOOD", Cause::Hubble(DropReason::DropRateLimited)),
    ("CPU_BACKLOG", Cause::Private(private_code::DEVICE)),
    ("DEV_HDR", Cause::Private(private_code::DEVICE)),
    ("DEV_READY", Cause::Private(private_code::DEVICE)),
    ("DUALPI2_STEP_DROP", Cause::Hubble(DropReason::DropRateLimited)),
    ("FQ_BAND_LIMIT", Cause::Hubble(DropReason::DropRateLimited)),
    ("FQ_FLOW_LIMIT", Cause::Hubble(DropReason::DropRateLimited)),
    ("FQ_HORIZON_LIMIT", Cause::Hubble(DropReason::ReachedEdtRateLimitingDropHorizon)),
    ("FULL_RING", Cause::Private(private_code::DEVICE)),
    ("ICMP_CSUM", Cause::Hubble(DropReason::ErrorWhileCorrectingL4Checksum)),
    ("IPV6_BAD_EXTHDR", Cause::Hubble(DropReason::InvalidIpv6ExtensionHeader)),
    ("IP_CSUM", Cause::Hubble(DropReason::ErrorWhileCorrectingL3Checksum)),
    ("IP_INNOROUTES", Cause::Hubble(DropReason::FibLookupFailed)),
    ("IP_INVALID_SOURCE", Cause::Hubble(DropReason::InvalidSourceIp)),
    ("IP_LOCAL_SOURCE", Cause::Hubble(DropReason::InvalidSourceIp)),
    ("IP_NOPROTO", Cause::Hubble(DropReason::UnknownL4Protocol)),
    ("IP_OUTNOROUTES", Cause::Hubble(DropReason::FibLookupFailed)),
    ("IP_RPFILTER", Cause::Hubble(DropReason::InvalidSourceIp)),
    ("NEIGH_CREATEFAIL", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("NEIGH_DEAD", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("NEIGH_FAILED", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("NEIGH_HH_FILLFAIL", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("NEIGH_QUEUEFULL", Cause::Hubble(DropReason::UnknownL3TargetAddress)),
    ("NETFILTER_DROP", Cause::Private(private_code::NETFILTER)),
    ("NOMEM", Cause::Private(private_code::MEMORY)),
    ("NO_SOCKET", Cause::Hubble(DropReason::SocketLookupFailed)),
    // Hubble's number 136 has the text "Fragmentation needed", whatever its name says.
    ("PKT_TOO_BIG", Cause::Hubble(DropReason::CtMissingTcpAckFlag)),
    ("PROTO_MEM", Cause::Private(private_code::MEMORY)),
    ("QDISC_CONGESTED", Cause::Hubble(DropReason::DropRateLimited)),
    ("QDISC_DROP", Cause::Hubble(DropReason::DropRateLimited)),
    ("QDISC_OVERLIMIT", Cause::Hubble(DropReason::DropRateLimited)),
    ("SECURITY_HOOK", Cause::Private(private_code::SECURITY)),
    ("SKB_CSUM", Cause::Hubble(DropReason::ErrorWhileCorrectingL4Checksum)),
    ("SOCKET_BACKLOG", Cause::Private(private_code::SOCKET)),
    ("SOCKET_FILTER", Cause::Private(private_code::SECURITY)),
    ("SOCKET_RCVBUFF", Cause::Private(private_code::SOCKET)),
    ("TCP_CSUM", Cause::Hubble(DropReason::ErrorWhileCorrectingL4Checksum)),
    ("TC_EGRESS", Cause::Private(private_code::TC_EGRESS)),
    ("TC_INGRESS", Cause::Private(private_code::TC_INGRESS)),
    ("UDP_CSUM", Cause::Hubble(DropReason::ErrorWhileCorrectingL4Checksum)),
    ("UNHANDLED_PROTO", Cause::Hubble(DropReason::UnsupportedL3Protocol)),
    ("VXLAN_VNI_NOT_FOUND", Cause::Hubble(DropReason::InvalidVni)),
    ("XDP", Cause::Private(private_code::DEVICE)),
    ("XFRM_POLICY", Cause::Private(private_code::SECURITY)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Hubble(DropReason),
    Private(i32),
}

/// No drop for this reason at this place is a loss, whatever the packet: the kernel program can leave it out.
pub(super) fn is_ignored(reason: &str, place: &str) -> bool {
    let is_possible = |opens_connection| {
        named_reason(reason, place, DroppedPacket { opens_connection, is_to_service: false }).is_some()
    };
    !is_possible(true) && !is_possible(false)
}

/// None if the packet was not lost. `reason` is empty where the kernel has none, `place` where it has no name.
pub(super) fn named_reason(reason: &str, place: &str, packet: DroppedPacket) -> Option<NamedReason> {
    let place = base_name(place);
    let cause = match reason {
        _ if IGNORED_REASONS.contains(&reason) => return None,
        // A raw socket has its own copy of the answer to a ping, and no ping socket is missing.
        "NO_SOCKET" if matches!(place, "ping_rcv" | "icmpv6_rcv" | "icmp_rcv") => return None,
        "" if packet.opens_connection && PLACES_OF_SYN.contains(&place) => {
            Cause::Hubble(DropReason::SocketLookupFailed)
        }
        "" | "NOT_SPECIFIED" => find(&PLACES, place)?,
        "IP_INHDR" if matches!(place, "ip_forward" | "ip6_forward") => Cause::Hubble(DropReason::TtlExceeded),
        _ => find(&REASONS, reason).unwrap_or_else(|| by_prefix(reason)),
    };
    let reason = match cause {
        Cause::Private(private_code::NETFILTER) if packet.is_to_service => DropReason::ServiceBackendNotFound,
        Cause::Private(code) => return Some(NamedReason { reason: DropReason::Unknown, sub_type: code }),
        Cause::Hubble(reason) => reason,
    };
    Some(NamedReason { reason, sub_type: reason.into() })
}

fn find(table: &[(&str, Cause)], name: &str) -> Option<Cause> {
    table.iter().find(|(known, _)| *known == name).map(|(_, cause)| *cause)
}

/// A reason that Hubble has no name for keeps the kernel's, and a code of its part of the network stack.
fn by_prefix(reason: &str) -> Cause {
    let code = match reason.split('_').next() {
        Some("TCP") => private_code::TCP,
        Some("IP" | "IPV6" | "IPV6DISABLED") => private_code::IP,
        Some("SOCKET") => private_code::SOCKET,
        _ => private_code::OTHER,
    };
    Cause::Private(code)
}

/// Compilers split functions into parts, e.g. `ip_rcv_finish_core.isra.0` and `ip_forward.cold`.
fn base_name(place: &str) -> &str {
    place.split('.').next().unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;

    const SYN: DroppedPacket = DroppedPacket { opens_connection: true, is_to_service: false };

    fn shown(reason: &str, place: &str) -> Option<(DropReason, i32)> {
        named_reason(reason, place, DroppedPacket::default()).map(|named| (named.reason, named.sub_type))
    }

    #[test]
    fn causes_have_the_reasons_that_were_measured() {
        use DropReason::{
            CtMissingTcpAckFlag, FibLookupFailed, InvalidSourceIp, SocketLookupFailed, TtlExceeded, Unknown,
            UnknownL3TargetAddress,
        };
        for (reason, place, expected, sub_type) in [
            ("NETFILTER_DROP", "nft_do_chain", Unknown, 221),
            ("NETFILTER_DROP", "nf_hook_slow", Unknown, 221),
            ("TC_INGRESS", "__netif_receive_skb_core.constprop.0", Unknown, 222),
            ("TC_EGRESS", "__dev_queue_xmit", Unknown, 223),
            ("NO_SOCKET", "tcp_v4_rcv", SocketLookupFailed, 178),
            ("NO_SOCKET", "__udp6_lib_rcv", SocketLookupFailed, 178),
            ("IP_INNOROUTES", "ip_error", FibLookupFailed, 169),
            ("NOT_SPECIFIED", "ip_error", FibLookupFailed, 169),
            ("IP_INHDR", "ip_forward", TtlExceeded, 196),
            ("PKT_TOO_BIG", "ip_forward", CtMissingTcpAckFlag, 136),
            ("IP_RPFILTER", "ip_rcv_finish_core.isra.0", InvalidSourceIp, 132),
            ("NEIGH_FAILED", "neigh_invalidate", UnknownL3TargetAddress, 150),
            ("NOT_SPECIFIED", "nf_queue", Unknown, 221),
            ("NOT_SPECIFIED", "dst_discard_out", FibLookupFailed, 169),
            ("NOT_SPECIFIED", "neigh_invalidate", UnknownL3TargetAddress, 150),
            ("IP_INNOROUTES", "ip6_pkt_prohibit", FibLookupFailed, 169),
            // Before 5.17.
            ("", "nft_do_chain", Unknown, 221),
            ("", "ip_error", FibLookupFailed, 169),
            ("", "ip_forward", Unknown, 226),
            ("", "__udp4_lib_rcv", SocketLookupFailed, 178),
        ] {
            assert_eq!(shown(reason, place), Some((expected, sub_type)), "{reason} {place}");
        }
    }

    #[test]
    fn what_an_ordinary_connection_frees_is_no_drop() {
        for (reason, place) in [
            ("QUEUE_PURGE", "sk_stream_kill_queues"),
            ("NOT_SPECIFIED", "tcp_rcv_state_process"),
            ("NOT_SPECIFIED", "skb_queue_purge"),
            ("NOT_SPECIFIED", "tcp_v4_rcv"),
            ("NO_SOCKET", "ping_rcv"),
            ("", "kfree_skb_list"),
            ("", ""),
        ] {
            assert_eq!(shown(reason, place), None, "{reason} {place}");
            assert!(is_ignored(reason, place), "{reason} {place}");
        }
    }

    #[test]
    fn without_reasons_only_a_syn_is_lost_where_connections_end() {
        assert_eq!(shown("", "tcp_v4_rcv"), None);
        assert!(!is_ignored("", "tcp_v4_rcv"), "the next packet may be a SYN");
        let named = named_reason("", "tcp_v6_rcv", SYN).unwrap();
        assert_eq!(named.reason, DropReason::SocketLookupFailed);
        assert_eq!(named_reason("NOT_SPECIFIED", "tcp_v4_rcv", SYN), None);
    }

    #[test]
    fn rejected_packet_to_a_service_has_no_backend() {
        let packet = DroppedPacket { is_to_service: true, ..DroppedPacket::default() };
        let named = |reason| named_reason(reason, "nft_do_chain", packet).unwrap().reason;
        assert_eq!(named("NETFILTER_DROP"), DropReason::ServiceBackendNotFound);
        assert_eq!(named(""), DropReason::ServiceBackendNotFound);
        assert_eq!(named("IP_INNOROUTES"), DropReason::FibLookupFailed);
    }

    #[test]
    fn reason_that_is_not_known_keeps_its_name_under_a_code_of_its_part() {
        for (reason, code) in
            [("TCP_OVERWINDOW", 225), ("IP_LOCALNET", 226), ("OPENVSWITCH_5", 220), ("RECURSION_LIMIT", 220)]
        {
            assert_eq!(shown(reason, "anywhere"), Some((DropReason::Unknown, code)), "{reason}");
        }
    }

    fn number(cause: Cause) -> i32 {
        match cause {
            Cause::Hubble(reason) => reason.into(),
            Cause::Private(code) => code,
        }
    }

    #[test]
    fn no_row_is_a_policys_and_each_stands_once() {
        for table in [&REASONS[..], &PLACES[..]] {
            let mut names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.len());
            for (name, cause) in table {
                let number = number(*cause);
                assert!((130..=254).contains(&number) && number != 133 && number != 181, "{name}");
            }
        }
    }

    /// A row for each of Hubble's reasons and of our own codes, for the docs.
    fn table_of_docs() -> String {
        let mut rows: BTreeMap<i32, [Vec<String>; 2]> = BTreeMap::new();
        for (name, cause) in REASONS {
            rows.entry(number(cause)).or_default()[0].push(format!("`{name}`"));
        }
        for (name, cause) in PLACES {
            rows.entry(number(cause)).or_default()[1].push(format!("`{name}`"));
        }
        let ttl = rows.entry(number(Cause::Hubble(DropReason::TtlExceeded))).or_default();
        ttl[0].push("`IP_INHDR` at `ip_forward`, `ip6_forward`".into());
        let mut table = String::from(
            "| number | Hubble's reason | the kernel's reasons | functions, where the kernel says no reason |\n|---|---|---|---|\n",
        );
        for (number, [reasons, places]) in rows {
            let name = DropReason::try_from(number).unwrap_or(DropReason::Unknown).as_str_name();
            table += &format!("| {number} | `{name}` | {} | {} |\n", reasons.join(", "), places.join(", "));
        }
        table
    }

    #[test]
    fn docs_have_the_table() {
        const BEGIN: &str =
            "<!-- Of node-runtime/src/layers/network/sources/drops/reason.rs; UPDATE_GOLDEN=1 rewrites it. -->\n";
        const END: &str = "<!-- end -->\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/why-was-this-packet-dropped.md");
        let page = fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let fresh = format!("{before}{BEGIN}{}{END}{after}", table_of_docs());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &fresh).unwrap();
        } else {
            assert!(page == fresh, "UPDATE_GOLDEN=1 rewrites {}", path.display());
        }
    }
}
