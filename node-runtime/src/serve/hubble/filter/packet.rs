//! By what stands in the packet's headers, and by how and where it was seen.

use super::{Built, convert};
use crate::{
    layers::network::{flow::Flow, record::Transport, tcp_flags::TcpFlags},
    serve::proto::flow::{EventTypeFilter, IpVersion, NetworkInterface, TcpFlags as Flags},
};

pub(super) fn uuid(wanted: Vec<String>) -> Built {
    Ok(Box::new(move |flow| wanted.contains(&convert::uuid(flow.uuid))))
}

pub(super) fn ip_version(wanted: Vec<i32>) -> Built {
    Ok(Box::new(move |flow| {
        let version = if flow.source.is_ipv4() { IpVersion::IPv4 } else { IpVersion::IPv6 };
        wanted.contains(&version.into())
    }))
}

/// Protocols that Hubble knows and these flows are not are no error: nothing matches them.
pub(super) fn protocol(wanted: &[String]) -> Built {
    const KNOWN: [&str; 10] = ["icmp", "icmpv4", "icmpv6", "tcp", "udp", "sctp", "vrrp", "igmp", "dns", "http"];
    let wanted: Vec<String> = wanted.iter().map(|name| name.to_lowercase()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("{unknown} is no protocol"));
    }
    Ok(Box::new(move |flow| {
        let name = match flow.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        wanted.iter().any(|one| one == name)
    }))
}

/// All flags of one entry must be set; more may be.
pub(super) fn tcp_flags(wanted: Vec<Flags>) -> Built {
    let wanted: Vec<Option<TcpFlags>> = wanted.iter().map(flags).collect();
    Ok(Box::new(move |flow| {
        flow.transport == Transport::Tcp && wanted.iter().flatten().any(|flags| flow.flags.has(*flags))
    }))
}

pub(super) fn interface(wanted: Vec<NetworkInterface>) -> Built {
    Ok(Box::new(move |flow| {
        wanted.iter().any(|one| {
            (one.index == 0 || one.index == flow.interface.index)
                && (one.name.is_empty() || one.name == flow.interface.name)
        })
    }))
}

pub(super) fn event_type(wanted: Vec<EventTypeFilter>) -> Built {
    Ok(Box::new(move |flow: &Flow| {
        let kind = convert::event_type(flow.point);
        wanted.iter().any(|one| {
            (one.r#type == 0 || one.r#type == kind.r#type) && (!one.match_sub_type || one.sub_type == kind.sub_type)
        })
    }))
}

/// None where a flag is asked for that is never read.
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
    fn a_flag_that_is_asked_for_must_be_set_and_others_may_be() {
        let mut answer = syn();
        answer.flags = TcpFlags(0x12);
        let syn_set = Flags { syn: true, ..Flags::default() };
        let both = Flags { syn: true, ack: true, ..Flags::default() };
        assert!(tcp_flags(vec![syn_set]).unwrap()(&answer));
        assert!(tcp_flags(vec![both]).unwrap()(&answer));
        assert!(!tcp_flags(vec![both]).unwrap()(&syn()));
    }

    #[test]
    fn a_protocol_that_hubble_does_not_know_is_refused() {
        assert!(protocol(&["TCP".to_owned()]).unwrap()(&syn()));
        assert!(!protocol(&["icmp".to_owned()]).unwrap()(&syn()));
        assert!(protocol(&["kafka".to_owned()]).is_err());
    }
}
