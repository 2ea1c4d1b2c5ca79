//! Servers seen so far, so that a connection that is first seen in its middle has the right direction even if the server
//! listens on an ephemeral port. Bounded; the oldest entry is dropped first.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
};

use super::ports::EPHEMERAL;
use crate::layers::network::{
    decode::{FlowObservation, FlowTuple},
    flow::L4,
    tcp_flags::TcpFlags,
};

/// Servers that are remembered; 64 bytes each.
const CAPACITY: usize = 1024;

/// Addresses and ports that have answered a SYN.
#[derive(Debug, Default)]
pub(super) struct KnownServers {
    known: HashSet<SocketAddr>,
    oldest_first: VecDeque<SocketAddr>,
}

impl KnownServers {
    /// Learns from SYN+ACK. A SYN sent to an address proves nothing: a scan sends them everywhere.
    pub(super) fn learn(&mut self, observation: &FlowObservation) {
        let FlowTuple { source, destination, l4, .. } = observation.tuple;
        let is_answer = l4 == L4::Tcp && observation.flags.has(TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0));
        let ports_suffice = source.port() < EPHEMERAL && destination.port() >= EPHEMERAL;
        if !is_answer || ports_suffice || !self.known.insert(source) {
            return;
        }
        self.oldest_first.push_back(source);
        if self.oldest_first.len() > CAPACITY
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether the source of a packet is the client; none if neither end is a known server, or both are.
    pub(super) fn source_is_client(&self, tuple: &FlowTuple) -> Option<bool> {
        if tuple.l4 != L4::Tcp || self.known.is_empty() {
            return None;
        }
        match (self.known.contains(&tuple.source), self.known.contains(&tuple.destination)) {
            (false, true) => Some(true),
            (true, false) => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::FlowDirection;

    use super::*;

    fn answer(source: &str, destination: &str) -> FlowObservation {
        FlowObservation::first(source, destination, FlowDirection::Out, 0x12)
    }

    #[test]
    fn servers_with_odd_ports_are_remembered_up_to_a_bound() {
        let mut servers = KnownServers::default();
        servers.learn(&answer("10.2.0.9:80", "10.1.0.7:40000"));
        assert!(servers.known.is_empty());
        // A client may use a port below the ephemeral range.
        servers.learn(&answer("10.2.0.9:8080", "10.1.0.7:5000"));
        assert_eq!(servers.source_is_client(&answer("10.2.0.9:8080", "10.1.0.7:6000").tuple), Some(false));
        for host in 0..3000 {
            servers.learn(&answer(&format!("10.3.{}.{}:50051", host / 250, host % 250), "10.1.0.7:40000"));
        }
        assert_eq!((servers.known.len(), servers.oldest_first.len()), (CAPACITY, CAPACITY));
        assert_eq!(
            servers.source_is_client(&answer("10.2.0.9:8080", "10.1.0.7:6000").tuple),
            None,
            "the oldest made room"
        );
    }
}
