//! One flow as the agent keeps it: what all events of a connection have in common, and the event. Small, and sharing what
//! many flows have in common. Hubble's message is made from it for each reader.

mod dropped;
mod event;
mod forwarded;
mod icmp_message;
mod icmp_type;
mod l4;
mod l7;
mod policy_verdict;
mod rcode;

use std::{net::SocketAddr, sync::Arc};

use jiff::Timestamp;

pub use self::{
    dropped::Dropped,
    event::{Event, EventKind},
    forwarded::{Forwarded, ObservationPoint},
    icmp_message::icmp_message,
    icmp_type::{is_icmp_answer, is_icmp_error},
    l4::L4,
    l7::{Dns, Http, L7, L7FlowType, L7Record},
    policy_verdict::{Policies, PolicyAction, PolicyName, PolicyVerdict},
    rcode::rcode_text,
};
use super::endpoint::{Endpoint, Service};

/// Direction of the connection for the watched endpoint, the same for both directions of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    /// Neither end is known to be the watched one.
    Unknown,
    /// The watched endpoint is the server.
    Ingress,
    /// The watched endpoint is the client.
    Egress,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interface {
    pub index: u32,
    pub name: String,
}

/// DNS names of an address, shared by the flows of those who looked it up; none if there are no names.
pub type Names = Option<Arc<Vec<String>>>;

/// One event of one direction of one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Wall clock: of the packet, or of the sweep that made the record.
    pub time: Timestamp,
    /// Unique.
    pub uuid: u128,
    pub l4: L4,
    /// Port 0 where the protocol has none.
    pub source: SocketAddr,
    /// As `source`.
    pub destination: SocketAddr,
    /// Zero if the record has no packet, or the packet no link header.
    pub source_mac: [u8; 6],
    /// As `source_mac`.
    pub destination_mac: [u8; 6],
    pub source_endpoint: Arc<Endpoint>,
    pub destination_endpoint: Arc<Endpoint>,
    /// The Service that has the source address.
    pub source_service: Option<Arc<Service>>,
    /// The Service that has the destination address.
    pub destination_service: Option<Arc<Service>>,
    /// Names that the pod at the other end looked up and that had the source address as an answer; none for most flows.
    pub source_names: Names,
    /// As `source_names`, of the destination address.
    pub destination_names: Names,
    pub direction: TrafficDirection,
    /// From the server to the client. None if the connection is not known, as of a drop; never none of a forwarded packet.
    pub is_reply: Option<bool>,
    /// Which end is the client is guessed, from the port numbers or from the first packet that was seen.
    pub is_direction_a_guess: bool,
    /// Index 0 if the packet was at none.
    pub interface: Arc<Interface>,
    /// Joins this flow with others of the same connection.
    pub connection: u64,
    pub event: Event,
}

impl Flow {
    /// One line for people, as Hubble's `Summary`.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.event.write_summary(self.l4, &mut text);
        text
    }

    /// The event of a packet that an interface passed on.
    pub fn forwarded(&self) -> Option<&Forwarded> {
        match &self.event {
            Event::Forwarded(forwarded) => Some(forwarded),
            Event::Dropped(_) | Event::PolicyVerdict(_) | Event::L7(_) => None,
        }
    }

    /// A request or a response.
    pub fn l7(&self) -> Option<&L7> {
        match &self.event {
            Event::L7(l7) => Some(l7),
            Event::Forwarded(_) | Event::Dropped(_) | Event::PolicyVerdict(_) => None,
        }
    }

    /// Memory that it takes, without what it shares with others.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.event.boxed_bytes()
    }

    /// None where the protocol has no ports.
    pub fn source_port(&self) -> Option<u16> {
        self.l4.transport().map(|_| self.source.port())
    }

    /// As `source_port`.
    pub fn destination_port(&self) -> Option<u16> {
        self.l4.transport().map(|_| self.destination.port())
    }

    /// Either port is one of `ports`.
    pub fn has_port(&self, ports: &[u16]) -> bool {
        [self.source_port(), self.destination_port()].into_iter().flatten().any(|port| ports.contains(&port))
    }
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests;
