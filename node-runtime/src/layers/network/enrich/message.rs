//! Flows of messages at an interface that say themselves which end is the client, as those of DNS do; and the names that they give.

use std::net::{IpAddr, SocketAddr};

use trilobite_node_ebpf::FlowDirection;

use super::{
    Ends, Enricher, Packet,
    names::{AskedBy, MACHINE, NameTable},
};
use crate::layers::network::{
    decode::Transport,
    flow::{Event, Flow, TrafficDirection},
};

impl Enricher {
    /// The flow of a message; `booted` is the wall clock at boot, in nanoseconds.
    pub fn message_flow(
        &mut self,
        packet: &Packet,
        direction: FlowDirection,
        is_reply: bool,
        event: Event,
        booted: i128,
    ) -> Flow {
        let source_is_watched = self.source_is_watched(packet.interface, direction);
        let pod = self.watched.get(&packet.interface).and_then(|watched| watched.pod.as_ref());
        let transport = packet.l4.transport().unwrap_or(Transport::Udp);
        let [source, destination] = [(packet.source, true), (packet.destination, false)].map(|(address, is_source)| {
            let pod = pod.filter(|_| source_is_watched == is_source);
            let end = self.owner(transport, address, pod);
            (self.shown(&end, address.ip(), pod), end.service.map(|service| service.owner))
        });
        let ends = Ends {
            source_endpoint: source.0,
            destination_endpoint: destination.0,
            source_service: source.1,
            destination_service: destination.1,
            direction: if source_is_watched == is_reply { TrafficDirection::Ingress } else { TrafficDirection::Egress },
            is_reply: Some(is_reply),
            is_direction_a_guess: false,
        };
        self.event_flow(packet, ends, event, booted)
    }

    /// Whether `address` is the end that the interface watches, where a packet goes to it in this direction. Of what a pod forwards, it is
    /// not.
    pub fn is_watched_end(&self, interface: u32, direction: FlowDirection, address: SocketAddr) -> bool {
        let pod = self.watched.get(&interface).and_then(|watched| watched.pod.as_ref());
        let is_own = match pod {
            Some((pod, _)) => super::is_address_of(pod, address.ip()),
            None => self.asked_by(interface) != MACHINE || self.local.contains(&address.ip()),
        };
        !self.source_is_watched(interface, direction) && is_own
    }

    /// The end that an interface watches has looked up a name, and these are its addresses.
    pub fn learn_names(&mut self, interface: u32, name: &str, addresses: &[IpAddr], ttl: u32, now: u64) {
        self.names.learn(self.asked_by(interface), name, addresses, ttl, now);
    }

    /// Names of addresses.
    pub fn names(&self) -> &NameTable {
        &self.names
    }

    /// Removes names that have expired. `now`: boot clock.
    pub fn review_names(&mut self, now: u64) {
        self.names.review(now);
    }

    /// A pod is behind its veth, the machine on this side of its own interfaces.
    fn source_is_watched(&self, interface: u32, direction: FlowDirection) -> bool {
        let behind = self.watched.get(&interface).is_some_and(|watched| watched.behind);
        (direction == FlowDirection::In) == behind
    }

    /// Whose lookups name the addresses that are seen at an interface.
    pub(super) fn asked_by(&self, interface: u32) -> AskedBy {
        let behind = self.watched.get(&interface).is_some_and(|watched| watched.behind);
        if behind { interface } else { MACHINE }
    }
}
