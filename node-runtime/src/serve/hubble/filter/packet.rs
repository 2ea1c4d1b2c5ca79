//! Filters by the packet's headers, and by how and where it was seen.

use trilobite_api::flow::{EventTypeFilter, IpVersion, NetworkInterface, TcpFlags as Flags};

use super::{super::flow_message, predicate::BuildResult};
use crate::layers::network::{decode::Transport, flow::Flow, tcp_flags::TcpFlags};

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
        let name = match flow.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        wanted.iter().any(|one| one == name)
    }))
}

/// All flags of an entry must be set; others may be.
pub(super) fn tcp_flags(wanted: Vec<Flags>) -> BuildResult {
    let wanted: Vec<Option<TcpFlags>> = wanted.iter().map(flags).collect();
    Ok(Box::new(move |flow| {
        flow.transport == Transport::Tcp && wanted.iter().flatten().any(|flags| flow.flags.has(*flags))
    }))
}

pub(super) fn interface(wanted: Vec<NetworkInterface>) -> BuildResult {
    Ok(Box::new(move |flow| {
        wanted.iter().any(|one| {
            (one.index == 0 || one.index == flow.interface.index)
                && (one.name.is_empty() || one.name == flow.interface.name)
        })
    }))
}

pub(super) fn event_type(wanted: Vec<EventTypeFilter>) -> BuildResult {
    Ok(Box::new(move |flow: &Flow| {
        let kind = flow_message::event_type(flow.observation_point);
        wanted.iter().any(|one| {
            (one.r#type == 0 || one.r#type == kind.r#type) && (!one.match_sub_type || one.sub_type == kind.sub_type)
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
    use crate::layers::network::flow::tests::syn;

    #[test]
    fn requested_flags_must_be_set_and_others_may_be() {
        let mut answer = syn();
        answer.flags = TcpFlags(0x12);
        let syn_set = Flags { syn: true, ..Flags::default() };
        let both = Flags { syn: true, ack: true, ..Flags::default() };
        assert!(tcp_flags(vec![syn_set]).unwrap()(&answer));
        assert!(tcp_flags(vec![both]).unwrap()(&answer));
        assert!(!tcp_flags(vec![both]).unwrap()(&syn()));
    }

    #[test]
    fn unknown_protocol_is_refused() {
        assert!(protocol(&["TCP".to_owned()]).unwrap()(&syn()));
        assert!(!protocol(&["icmp".to_owned()]).unwrap()(&syn()));
        assert!(protocol(&["kafka".to_owned()]).is_err());
    }
}
