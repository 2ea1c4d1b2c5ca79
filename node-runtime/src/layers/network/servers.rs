//! Servers that were met, so that a connection that is seen from its middle on has its direction where the ports would
//! tell another: those that listen at ports which are given to clients. Bounded; the oldest make room.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
};

use super::{
    connection::EPHEMERAL,
    record::{Observed, Transport, Tuple},
    tcp_flags::TcpFlags,
};

/// So many are remembered, for as long as anything is watched; 64 bytes each.
const SERVERS: usize = 1024;

/// Addresses and ports that have answered a SYN.
#[derive(Debug, Default)]
pub(super) struct Servers {
    known: HashSet<SocketAddr>,
    oldest_first: VecDeque<SocketAddr>,
}

impl Servers {
    /// A SYN that is acknowledged comes from a server. That a SYN was sent to it would not do: a scan sends them everywhere.
    pub(super) fn learn(&mut self, observed: &Observed) {
        let Tuple { source, destination, transport, .. } = observed.tuple;
        let is_answer = transport == Transport::Tcp && observed.flags.has(TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0));
        // The ports say as much.
        let is_plain = source.port() < EPHEMERAL && destination.port() >= EPHEMERAL;
        if !is_answer || is_plain || !self.known.insert(source) {
            return;
        }
        self.oldest_first.push_back(source);
        if self.oldest_first.len() > SERVERS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether the source of a packet began the connection; none where neither end is known, or both are.
    pub(super) fn source_began(&self, tuple: &Tuple) -> Option<bool> {
        if tuple.transport != Transport::Tcp {
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
    use trilobite_node_ebpf::flow::FlowDirection;

    use super::*;

    fn answer(source: &str, destination: &str) -> Observed {
        Observed::first(source, destination, FlowDirection::Out, 0x12)
    }

    #[test]
    fn only_servers_that_the_ports_would_miss_are_remembered_and_only_so_many() {
        let mut servers = Servers::default();
        servers.learn(&answer("10.2.0.9:80", "10.1.0.7:40000"));
        assert!(servers.known.is_empty());
        // A client may take a port that is given to none.
        servers.learn(&answer("10.2.0.9:8080", "10.1.0.7:5000"));
        assert_eq!(servers.source_began(&answer("10.2.0.9:8080", "10.1.0.7:6000").tuple), Some(false));
        for host in 0..3000 {
            servers.learn(&answer(&format!("10.3.{}.{}:50051", host / 250, host % 250), "10.1.0.7:40000"));
        }
        assert_eq!((servers.known.len(), servers.oldest_first.len()), (SERVERS, SERVERS));
        assert_eq!(servers.source_began(&answer("10.2.0.9:8080", "10.1.0.7:6000").tuple), None, "the oldest made room");
    }
}
