//! Names and direction of a packet that is no flow record, e.g. of one that was dropped.

use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;

use super::{Enricher, PodEndpoint, uuid};
use crate::{
    identity::Pod,
    layers::network::{
        connection::direction::DirectionEvidence,
        decode::Transport,
        endpoint::{Endpoint, Service},
        flow::{Event, Flow, Interface, L4, Names, TrafficDirection},
    },
};

/// A packet of which the kernel tells beside the flow records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Boot clock, nanoseconds.
    pub time: u64,
    pub l4: L4,
    /// Port 0 where the protocol has none.
    pub source: SocketAddr,
    /// As `source`.
    pub destination: SocketAddr,
    /// Index of the interface of this network namespace at which it was; 0 if it was at none, or in another namespace.
    pub interface: u32,
    /// Joins it with the flows of its connection.
    pub connection: u64,
}

/// What is known of both ends of a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Ends {
    pub source_endpoint: Arc<Endpoint>,
    pub destination_endpoint: Arc<Endpoint>,
    pub source_service: Option<Arc<Service>>,
    pub destination_service: Option<Arc<Service>>,
    /// For the pod at whose interface it was, else for the watched one, first the source.
    pub direction: TrafficDirection,
    /// None if no flow of its connection is open.
    pub is_reply: Option<bool>,
    pub is_direction_a_guess: bool,
}

impl Enricher {
    /// Names both ends of a packet, and its direction as far as its connection is known.
    pub fn ends(&self, packet: &Packet) -> Ends {
        let near = self.watched.get(&packet.interface).and_then(|watched| watched.pod.as_ref());
        let [source, destination] = [packet.source, packet.destination].map(|address| {
            // Which end is behind the interface is not known, so only an address that is known tells.
            let pod = near.filter(|(pod, _)| pod.ips.contains(&address.ip()));
            // Port 0 is no Service's.
            let end = self.owner(packet.l4.transport().unwrap_or(Transport::Tcp), address, pod);
            (self.shown(&end, address.ip(), pod), end.service.map(|service| service.owner))
        });
        let known = self.known_connection(packet, [&source.0, &destination.0]);
        let is_reply = known.map(|(is_reply, _)| is_reply);
        Ends {
            direction: self.direction(near, [&source.0, &destination.0], is_reply.unwrap_or(false)),
            is_reply,
            is_direction_a_guess: known.is_some_and(|(_, evidence)| evidence == DirectionEvidence::Ports),
            source_endpoint: source.0,
            destination_endpoint: destination.0,
            source_service: source.1,
            destination_service: destination.1,
        }
    }

    /// The endpoint of a pod of this node.
    pub fn pod_endpoint(&self, pod: &Arc<Pod>) -> Arc<Endpoint> {
        let mut watched = self.watched.values().filter_map(|watched| watched.pod.as_ref());
        let known = watched.find(|(watched, _)| watched == pod);
        known.map_or_else(|| Arc::new(Endpoint::pod(pod)), |(_, endpoint)| endpoint.clone())
    }

    /// The flow of an event; `booted` is the wall clock at boot, in nanoseconds.
    pub fn event_flow(&mut self, packet: &Packet, ends: Ends, event: Event, booted: i128) -> Flow {
        let interface = match self.watched.get(&packet.interface) {
            Some(watched) => watched.interface.clone(),
            None if packet.interface == 0 => self.no_interface.clone(),
            None => Arc::new(Interface { index: packet.interface, name: String::new() }),
        };
        let [source_names, destination_names] = self.names_of_ends(packet, &ends);
        Flow {
            time: Timestamp::from_nanosecond(booted + i128::from(packet.time)).unwrap_or(Timestamp::UNIX_EPOCH),
            uuid: uuid(&mut self.random),
            l4: packet.l4,
            source: packet.source,
            destination: packet.destination,
            source_mac: [0; 6],
            destination_mac: [0; 6],
            source_endpoint: ends.source_endpoint,
            destination_endpoint: ends.destination_endpoint,
            source_service: ends.source_service,
            destination_service: ends.destination_service,
            source_names,
            destination_names,
            direction: ends.direction,
            is_reply: ends.is_reply,
            is_direction_a_guess: ends.is_direction_a_guess,
            interface,
            connection: packet.connection,
            event,
        }
    }

    /// The names that the end behind the interface has looked up, of the other one.
    fn names_of_ends(&mut self, packet: &Packet, ends: &Ends) -> [Names; 2] {
        let Some(watched) = self.watched.get(&packet.interface) else { return [None, None] };
        let source_is_watched = match &watched.pod {
            Some(pod) if ends.source_endpoint.uid == pod.1.uid => true,
            Some(pod) if ends.destination_endpoint.uid == pod.1.uid => false,
            Some(_) => return [None, None],
            None if ends.direction == TrafficDirection::Unknown => return [None, None],
            None => (ends.direction == TrafficDirection::Egress) != ends.is_reply.unwrap_or_default(),
        };
        let far = if source_is_watched { packet.destination.ip() } else { packet.source.ip() };
        let names = self.names.of(self.asked_by(packet.interface), far, packet.time);
        if source_is_watched { [None, names] } else { [names, None] }
    }

    /// Whether the packet is a reply, and how that is known: from its own interface, or from those of the pods at its ends.
    fn known_connection(&self, packet: &Packet, ends: [&Arc<Endpoint>; 2]) -> Option<(bool, DirectionEvidence)> {
        packet.l4.transport()?;
        let at = |interface| self.connections.direction(interface, packet.l4, packet.source, packet.destination);
        let is_at_an_end = |pod: &PodEndpoint| ends.iter().any(|end| end.uid == pod.1.uid);
        let mut of_ends = self.watched.iter().filter(|(_, watched)| watched.pod.as_ref().is_some_and(is_at_an_end));
        at(packet.interface).or_else(|| of_ends.find_map(|(interface, _)| at(*interface)))
    }

    /// The direction of the connection for the watched one of its ends.
    fn direction(&self, near: Option<&PodEndpoint>, ends: [&Arc<Endpoint>; 2], is_reply: bool) -> TrafficDirection {
        let is = |end: &Endpoint, pod: &PodEndpoint| !end.uid.is_empty() && end.uid == pod.1.uid;
        let is_watched =
            |end: &Endpoint| self.watched.values().any(|watched| watched.pod.as_ref().is_some_and(|pod| is(end, pod)));
        let at_interface = near.and_then(|pod| ends.iter().position(|end| is(end, pod)));
        match at_interface.or_else(|| ends.iter().position(|end| is_watched(end))) {
            None => TrafficDirection::Unknown,
            Some(watched) if (watched == 0) == is_reply => TrafficDirection::Ingress,
            Some(_) => TrafficDirection::Egress,
        }
    }
}
