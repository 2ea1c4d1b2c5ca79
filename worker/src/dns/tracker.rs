//! Records in, messages to the agent out. No I/O; time is an argument.

use std::collections::{HashMap, VecDeque};

use trilobite_protocols::{DnsData, DnsMessage, DnsQuestion};
use trilobite_worker_wire::{
    DnsAnswered, DnsCounts, DnsEvent, DnsSeen,
    dns::{DNS_ADDRESSES_MAX, DNS_ALIASES_MAX, DNS_TYPES_MAX, take_batch},
};

use super::{
    lookups::{GivenUp, Lookups, Passed},
    packet::{DnsPacket, PacketPath},
    stream::TcpStream,
};

/// Messages that may wait for the agent; some 500 bytes each.
const WAITING_MAX: usize = 4096;
/// TCP connections that are followed, each direction by itself; the one that is silent for the longest makes room.
const STREAMS_MAX: usize = 512;
/// A direction that is silent for so long is forgotten.
const STREAM_IDLE_NS: u64 = 60_000_000_000;

#[derive(Default)]
pub(super) struct DnsTracker {
    lookups: Lookups,
    streams: HashMap<PacketPath, (TcpStream, u64)>,
    waiting: VecDeque<DnsSeen>,
    counts: DnsCounts,
}

impl DnsTracker {
    /// Reads a record of the ring.
    pub(super) fn record(&mut self, bytes: &[u8]) {
        let Some(packet) = DnsPacket::parse(bytes) else {
            self.counts.malformed += 1;
            return;
        };
        if packet.path.tcp {
            self.read_segment(&packet);
        } else if let Some(message) = DnsMessage::read(packet.bytes) {
            self.apply(&packet, &message);
        } else {
            self.counts.malformed += 1;
        }
    }

    fn read_segment(&mut self, packet: &DnsPacket<'_>) {
        if !self.streams.contains_key(&packet.path) && self.streams.len() >= STREAMS_MAX {
            let oldest = self.streams.iter().min_by_key(|(_, (_, last))| *last).map(|(path, _)| *path);
            oldest.map(|path| self.streams.remove(&path));
            self.counts.forgotten += 1;
        }
        let (stream, last) = self.streams.entry(packet.path).or_default();
        *last = packet.time;
        let mut messages = Vec::new();
        self.counts.malformed += stream.push(packet.sequence, packet.length, packet.bytes, |bytes| {
            let message = DnsMessage::read(bytes);
            let is_message = message.is_some();
            messages.extend(message);
            is_message
        });
        messages.iter().for_each(|message| self.apply(packet, message));
    }

    fn apply(&mut self, packet: &DnsPacket<'_>, message: &DnsMessage) {
        self.counts.messages += 1;
        let DnsPacket { time, connection, path, .. } = *packet;
        if message.is_answer {
            let asked = self.lookups.answer(path, message.id, message.question.as_ref(), time);
            let answered = answered(message, asked.latency_ns);
            self.tell(time, connection, path, asked.question, asked.passed, DnsEvent::Answer(answered));
        } else if let Some(question) = &message.question {
            let passed = self.lookups.ask(path, connection, message.id, question, time);
            self.tell(time, connection, path, Some(question.clone()), passed, DnsEvent::Query);
        }
        self.give_up(time);
    }

    /// Gives up queries without an answer, and forgets connections that are silent. `now`: boot clock.
    pub(super) fn review(&mut self, now: u64) {
        self.give_up(now);
        self.streams.retain(|_, (_, last)| now.saturating_sub(*last) < STREAM_IDLE_NS);
        if self.streams.is_empty() {
            self.streams = HashMap::new();
        }
    }

    fn give_up(&mut self, now: u64) {
        for GivenUp { question, path, connection } in self.lookups.review(now) {
            self.counts.unanswered += 1;
            self.tell(now, connection, path, Some(question), None, DnsEvent::GivenUp);
        }
    }

    fn tell(
        &mut self,
        time_ns: u64,
        connection: u64,
        path: PacketPath,
        question: Option<DnsQuestion>,
        passed: Option<Passed>,
        event: DnsEvent,
    ) {
        // The client's subscribers and the server's have been told of it.
        if passed == Some(Passed::Same) {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.counts.untold += 1;
            return;
        }
        let PacketPath { interface, received, tcp, source, destination } = path;
        let (query, qtype) = question.map_or_else(Default::default, |question| (question.name, question.kind));
        self.waiting.push_back(DnsSeen {
            time_ns,
            interface,
            received,
            tcp,
            source,
            destination,
            connection,
            passing: passed == Some(Passed::Translated),
            query,
            qtype,
            event,
        });
    }

    /// The next messages for the agent; none if nothing waits.
    pub(super) fn take_batch(&mut self) -> Option<Vec<DnsSeen>> {
        (!self.waiting.is_empty()).then(|| take_batch(&mut self.waiting))
    }

    pub(super) fn counts(&self) -> DnsCounts {
        DnsCounts { forgotten: self.counts.forgotten + self.lookups.forgotten(), ..self.counts }
    }

    /// A parser panicked on a record.
    pub(super) fn count_malformed(&mut self) {
        self.counts.malformed += 1;
    }
}

fn answered(message: &DnsMessage, latency_ns: Option<u64>) -> DnsAnswered {
    let (mut addresses, mut aliases) = (Vec::new(), Vec::new());
    for answer in &message.answers {
        match &answer.data {
            DnsData::Address(address) if addresses.len() < DNS_ADDRESSES_MAX => addresses.push(*address),
            DnsData::Alias(name) if aliases.len() < DNS_ALIASES_MAX => aliases.push(name.clone()),
            _ => {}
        }
    }
    let rrtypes = message.answers.iter().take(DNS_TYPES_MAX).map(|answer| answer.kind.clone()).collect();
    DnsAnswered { latency_ns, rcode: message.rcode, ttl: message.ttl(), addresses, aliases, rrtypes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::packet::tests::record, *};

    /// `shop.example A`, and its answer: an alias of 60 s and an address of 0 s.
    const QUERY: &[u8] = b"\xdb\x42\x01\x20\0\x01\0\0\0\0\0\0\x04shop\x07example\0\0\x01\0\x01";
    const ANSWER: &[u8] = b"\xdb\x42\x81\x80\0\x01\0\x02\0\0\0\0\x04shop\x07example\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03web\xc0\x11\xc0\x2a\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0\x07";

    /// The packet's path back.
    fn way_back(mut record: Vec<u8>) -> Vec<u8> {
        let at = size_of::<trilobite_node_ebpf::Record>();
        let (source, destination) = (record[at..at + 16].to_vec(), record[at + 16..at + 32].to_vec());
        record[at..at + 16].copy_from_slice(&destination);
        record[at + 16..at + 32].copy_from_slice(&source);
        record.swap(at + 36, at + 38);
        record.swap(at + 37, at + 39);
        record[at + 42] = trilobite_node_ebpf::FlowDirection::Out as u8;
        record
    }

    fn take_all(tracker: &mut DnsTracker) -> Vec<DnsSeen> {
        std::iter::from_fn(|| tracker.take_batch()).flatten().collect()
    }

    #[test]
    fn lookup_is_told_with_addresses_and_aliases() {
        let mut tracker = DnsTracker::default();
        tracker.record(&record(QUERY));
        tracker.record(&way_back(record(ANSWER)));
        let [query, answer] = &take_all(&mut tracker)[..] else { panic!() };
        assert_eq!((query.query.as_str(), query.qtype.as_str()), ("shop.example.", "A"));
        assert_eq!((&query.event, query.received), (&DnsEvent::Query, true));
        assert_eq!((answer.source, answer.destination), (query.destination, query.source));
        let expected = DnsAnswered {
            latency_ns: Some(0),
            ttl: Some(0),
            addresses: vec![[10, 0, 0, 7].into()],
            aliases: vec!["web.example.".into()],
            rrtypes: vec!["CNAME".into(), "A".into()],
            ..DnsAnswered::default()
        };
        assert_eq!(answer.event, DnsEvent::Answer(expected));
        assert_eq!(tracker.counts(), DnsCounts { messages: 2, ..DnsCounts::default() });
    }

    #[test]
    fn query_without_an_answer_is_told_when_it_is_given_up() {
        let mut tracker = DnsTracker::default();
        tracker.record(&record(QUERY));
        tracker.review(6_000_000_000);
        let seen = take_all(&mut tracker);
        assert_eq!((seen.len(), &seen[1].event, seen[1].source), (2, &DnsEvent::GivenUp, seen[0].source));
        assert_eq!(tracker.counts().unanswered, 1);
    }

    #[test]
    fn messages_beyond_the_bound_are_counted() {
        let mut tracker = DnsTracker::default();
        (0..WAITING_MAX + 9).for_each(|_| tracker.record(&record(QUERY)));
        assert_eq!((take_all(&mut tracker).len(), tracker.counts().untold), (WAITING_MAX, 9));
    }

    proptest! {
        #[test]
        fn changed_messages_are_told_or_counted(
            changes in prop::collection::vec((0..ANSWER.len(), any::<u8>()), 1..4), cut in 0..ANSWER.len(), tcp: bool
        ) {
            let mut bytes = ANSWER.to_vec();
            changes.into_iter().for_each(|(at, to)| bytes[at] = to);
            bytes.truncate(bytes.len() - cut);
            let mut packet = record(&bytes);
            if tcp {
                packet[size_of::<trilobite_node_ebpf::Record>() + 40] = 6;
            }
            let mut tracker = DnsTracker::default();
            tracker.record(&packet);
            let seen = take_all(&mut tracker).len() as u64;
            prop_assert!(seen <= tracker.counts().messages);
        }
    }
}
