//! `hubble_tcp_flags_total`: flags of TCP packets that were forwarded.

use trilobite_api::flow::Verdict;

use super::{
    counter::{Family, FlowCounter},
    series::Label,
};
use crate::layers::network::{
    flow::{Flow, L4},
    tcp_flags::TcpFlags,
};

pub(super) const FAMILY: Family = Family { name: "hubble_tcp_flags", help: "TCP flag occurrences" };

pub(super) fn labels() -> Vec<Label> {
    ["flag", "family"].map(Label::bounded).to_vec()
}

pub(super) fn record(counter: &mut FlowCounter, flow: &Flow) {
    if flow.l4 != L4::Tcp || flow.event.verdict() != Verdict::Forwarded {
        return;
    }
    let flags = flow.event.tcp_flags();
    let family = if flow.source.is_ipv4() { "IPv4" } else { "IPv6" };
    // SYN and SYN-ACK are told apart: the difference of the two is the number of connections that nothing answered.
    let syn = if flags.has(TcpFlags::ACK) { "SYN-ACK" } else { "SYN" };
    for (flag, name) in [(TcpFlags::FIN, "FIN"), (TcpFlags::SYN, syn), (TcpFlags::RST, "RST")] {
        if flags.has(flag) {
            counter.count(flow, &[name, family]);
        }
    }
}
