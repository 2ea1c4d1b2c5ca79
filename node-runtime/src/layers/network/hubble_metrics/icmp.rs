//! `hubble_icmp_total`: messages of ICMP and ICMPv6.

use super::{
    counter::{Family, FlowCounter},
    series::Label,
};
use crate::layers::network::flow::{Flow, L4, icmp_message};

pub(super) const FAMILY: Family = Family { name: "hubble_icmp", help: "Number of ICMP messages" };

pub(super) fn labels() -> Vec<Label> {
    // A message without a name is shown by its numbers, of which there are 65,536.
    vec![Label::bounded("family"), Label::unbounded("type")]
}

pub(super) fn record(counter: &mut FlowCounter, flow: &Flow) {
    if let L4::Icmp { v6, kind, code } = flow.l4 {
        let family = if v6 { "IPv6" } else { "IPv4" };
        counter.count(flow, &[family, &icmp_message(v6, kind, code)]);
    }
}
