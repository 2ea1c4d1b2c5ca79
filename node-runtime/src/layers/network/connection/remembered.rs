//! The direction of connections that have ended in silence: their ports may go on, e.g. with a late answer. Bounded; the
//! oldest entry is dropped first. Pure: time is an argument, in nanoseconds.

use std::collections::{HashMap, VecDeque};

use super::{
    direction::{DirectionEvidence, REMEMBERED_NS},
    key::ConnectionKey,
};

/// Connections that are remembered; some 150 bytes each.
const CAPACITY: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct RememberedDirections {
    known: HashMap<ConnectionKey, Remembered>,
    oldest_first: VecDeque<(ConnectionKey, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    pub(super) low_is_client: bool,
    pub(super) evidence: DirectionEvidence,
    ended: u64,
}

impl RememberedDirections {
    pub(super) fn insert(&mut self, key: ConnectionKey, low_is_client: bool, evidence: DirectionEvidence, now: u64) {
        while self.oldest_first.len() >= CAPACITY
            || self.oldest_first.front().is_some_and(|(_, ended)| now.saturating_sub(*ended) > REMEMBERED_NS)
        {
            let Some((oldest, ended)) = self.oldest_first.pop_front() else { break };
            if self.known.get(&oldest).is_some_and(|known| known.ended == ended) {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(key, Remembered { low_is_client, evidence, ended: now });
        self.oldest_first.push_back((key, now));
    }

    /// Removes and returns what is remembered.
    pub(super) fn remove(&mut self, key: &ConnectionKey, now: u64) -> Option<Remembered> {
        // Most of the time nothing is remembered at all.
        if self.known.is_empty() {
            return None;
        }
        self.known.remove(key).filter(|known| now.saturating_sub(known.ended) <= REMEMBERED_NS)
    }

    /// Forgets the connections of a deleted interface.
    pub(super) fn forget(&mut self, interface: u32) {
        self.known.retain(|key, _| key.interface != interface);
        self.oldest_first.retain(|(key, _)| key.interface != interface);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::L4;

    fn key(port: u16) -> ConnectionKey {
        let [low, high] = [port, 50051].map(|port| std::net::SocketAddr::new("10.1.0.7".parse().unwrap(), port));
        ConnectionKey::new(12, L4::Udp, low, high).0
    }

    #[test]
    fn direction_is_remembered_for_ten_minutes_and_up_to_a_bound() {
        let mut remembered = RememberedDirections::default();
        for port in 0..5000 {
            remembered.insert(key(port), true, DirectionEvidence::FirstPacket, 1);
        }
        assert_eq!((remembered.known.len(), remembered.oldest_first.len()), (CAPACITY, CAPACITY));
        assert!(remembered.remove(&key(0), 2).is_none());
        assert!(remembered.remove(&key(4999), REMEMBERED_NS).is_some_and(|known| known.low_is_client));
        assert!(remembered.remove(&key(4998), REMEMBERED_NS + 2).is_none());
    }

    #[test]
    fn later_end_of_the_same_ports_counts() {
        let mut remembered = RememberedDirections::default();
        remembered.insert(key(1), true, DirectionEvidence::FirstPacket, 1);
        remembered.insert(key(1), false, DirectionEvidence::FirstPacket, 5);
        remembered.insert(key(2), true, DirectionEvidence::FirstPacket, REMEMBERED_NS + 3);
        assert!(remembered.remove(&key(1), REMEMBERED_NS + 4).is_some_and(|known| !known.low_is_client));
    }
}
