//! Filters by the packet's headers.

use trilobite_api::flow::{IpVersion, NetworkInterface, TcpFlags as Flags};

use super::{super::flow_message, predicate::BuildResult};
use crate::layers::network::{
    flow::{L4, L7Record},
    tcp_flags::TcpFlags,
};

pub(super) fn uuid(wanted: Vec<String>) -> BuildResult {
    let wanted: Vec<String> = wanted.iter().map(|uuid| uuid.to_lowercase()).collect();
    Ok(Box::new(move |flow| wanted.contains(&flow_message::uuid(flow.uuid))))
}

pub(super) fn ip_version(wanted: Vec<i32>) -> BuildResult {
    Ok(Box::new(move |flow| {
        let version = if flow.source.is_ipv4() { IpVersion::IPv4 } else { IpVersion::IPv6 };
        wanted.contains(&version.into())
    }))
}

/// Other protocols that Hubble knows are valid and match nothing.
pub(super) fn protocol(wanted: &[String]) -> BuildResult {
    const KNOWN: [&str; 10] = ["icmp", "icmpv4", "icmpv6", "tcp", "udp", "sctp", "vrrp", "igmp", "dns", "http"];
    let wanted: Vec<String> = wanted.iter().map(|name| name.to_lowercase()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("{unknown} is not a protocol"));
    }
    Ok(Box::new(move |flow| {
        let names: &[&str] = match flow.l4 {
            L4::Tcp => &["tcp"],
            L4::Udp => &["udp"],
            L4::Icmp { v6: false, .. } => &["icmp", "icmpv4"],
            L4::Icmp { v6: true, .. } => &["icmp", "icmpv6"],
            L4::Other(_) => &[],
        };
        let of_l7 = flow.l7().map(|l7| match l7.record {
            L7Record::Dns(_) => "dns",
            L7Record::Http(_) => "http",
        });
        wanted.iter().any(|one| names.contains(&one.as_str()) || of_l7 == Some(one))
    }))
}

/// All flags of an entry must be set; others may be.
pub(super) fn tcp_flags(wanted: Vec<Flags>) -> BuildResult {
    let wanted: Vec<Option<TcpFlags>> = wanted.iter().map(flags).collect();
    Ok(Box::new(move |flow| {
        // A request is no packet.
        flow.l4 == L4::Tcp
            && flow.l7().is_none()
            && wanted.iter().flatten().any(|flags| flow.event.tcp_flags().has(*flags))
    }))
}

pub(super) fn interface(wanted: Vec<NetworkInterface>) -> BuildResult {
    Ok(Box::new(move |flow| {
        // An event at no interface matches no entry, not even an empty one.
        flow.interface.index != 0
            && wanted.iter().any(|one| {
                (one.index == 0 || one.index == flow.interface.index)
                    && (one.name.is_empty() || one.name == flow.interface.name)
            })
    }))
}

/// None for a flag that the agent does not read.
fn flags(of: &Flags) -> Option<TcpFlags> {
    let named = [
        (of.fin, TcpFlags::FIN),
        (of.syn, TcpFlags::SYN),
        (of.rst, TcpFlags::RST),
        (of.psh, TcpFlags::PSH),
        (of.ack, TcpFlags::ACK),
        (of.urg, TcpFlags::URG),
        (of.ece, TcpFlags::ECE),
        (of.cwr, TcpFlags::CWR),
    ];
    let bits = named.iter().filter(|(set, _)| *set).fold(0, |bits, (_, flag)| bits | flag.0);
    (!of.ns).then_some(TcpFlags(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::{
        Flow, L7FlowType,
        samples::{dns, drop_by_policy, forwarded, http, syn},
    };

    #[test]
    fn requested_flags_must_be_set_and_others_may_be() {
        let mut answer = syn();
        forwarded(&mut answer).flags = TcpFlags(0x12);
        let syn_set = Flags { syn: true, ..Flags::default() };
        let both = Flags { syn: true, ack: true, ..Flags::default() };
        assert!(tcp_flags(vec![syn_set]).unwrap()(&answer));
        assert!(tcp_flags(vec![both]).unwrap()(&answer));
        assert!(!tcp_flags(vec![both]).unwrap()(&syn()));
        assert!(tcp_flags(vec![syn_set]).unwrap()(&drop_by_policy()));
    }

    #[test]
    fn icmp_is_both_versions() {
        let ping = |v6| Flow { l4: L4::Icmp { v6, kind: 8, code: 0 }, ..drop_by_policy() };
        for (name, v4, v6) in [("icmp", true, true), ("ICMPv4", true, false), ("icmpv6", false, true)] {
            let test = protocol(&[name.to_owned()]).unwrap();
            assert_eq!((test(&ping(false)), test(&ping(true)), test(&syn())), (v4, v6, false), "{name}");
        }
    }

    #[test]
    fn request_is_of_its_own_protocol_and_of_the_connections() {
        for (name, of_http, of_dns) in [("http", true, false), ("DNS", false, true), ("tcp", true, false)] {
            let test = protocol(&[name.to_owned()]).unwrap();
            let answers = [http(L7FlowType::Request, 0), dns(L7FlowType::Response, 0), syn()].map(|flow| test(&flow));
            assert_eq!(answers, [of_http, of_dns, name == "tcp"], "{name}");
        }
        assert!(!tcp_flags(vec![Flags::default()]).unwrap()(&http(L7FlowType::Request, 0)));
    }

    #[test]
    fn event_at_no_interface_matches_none() {
        let nowhere = Flow { interface: Default::default(), ..drop_by_policy() };
        let any = interface(vec![NetworkInterface::default()]).unwrap();
        assert!(any(&syn()) && !any(&nowhere));
    }

    #[test]
    fn unknown_protocol_is_refused() {
        assert!(protocol(&["TCP".to_owned()]).unwrap()(&syn()));
        assert!(!protocol(&["icmp".to_owned()]).unwrap()(&syn()));
        assert!(protocol(&["kafka".to_owned()]).is_err());
    }
}
