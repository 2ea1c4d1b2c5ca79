//! What a worker has read in packets from and to DNS servers.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Addresses of one answer.
pub const DNS_ADDRESSES_MAX: usize = 64;
/// Aliases of one answer.
pub const DNS_ALIASES_MAX: usize = 16;
/// Types of one answer's records.
pub const DNS_TYPES_MAX: usize = 128;
/// Characters of a name: 255 bytes, of which each may be escaped by three digits.
const NAME_MAX: usize = 1020;
/// Characters of a type.
const TYPE_MAX: usize = 16;
/// Characters of the messages in one `Message::DnsSeen`: with what surrounds and escapes them they fit into a packet.
const BATCH_MAX: usize = 24 << 10;

/// A query or an answer at an interface, or that a query was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSeen {
    /// Of the packet, boot clock; of a query that was given up, when that was decided.
    pub time_ns: u64,
    /// Index of the interface.
    pub interface: u32,
    /// The interface received the packet; else it sent it.
    pub received: bool,
    /// Over TCP; else over UDP.
    pub tcp: bool,
    /// The end that sent the packet.
    pub source: SocketAddr,
    /// The other end.
    pub destination: SocketAddr,
    /// Key of the connection, as its flow has it.
    pub connection: u64,
    /// The same message is seen at an interface of the client too, with another address of the server.
    pub passing: bool,
    /// In lower case, with its last dot. Empty where an answer repeats no question and its query was not seen.
    pub query: String,
    /// The type that is asked for, e.g. `A`; empty as `query`.
    pub qtype: String,
    /// What it is.
    pub event: DnsEvent,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsEvent {
    /// A query.
    Query,
    /// An answer.
    Answer(DnsAnswered),
    /// No answer came to a query. The packet is that of the query.
    GivenUp,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsAnswered {
    /// Since the first query; none where no query was seen.
    pub latency_ns: Option<u64>,
    /// With the bits that EDNS adds.
    pub rcode: u16,
    /// Seconds: of the record that holds for the shortest time; none without records.
    pub ttl: Option<u32>,
    /// Of the answer's records of type A and AAAA.
    pub addresses: Vec<IpAddr>,
    /// The names that CNAMEs lead to, in lower case, with their last dots.
    pub aliases: Vec<String>,
    /// The type of each of the answer's records.
    pub rrtypes: Vec<String>,
}

/// Counts since the worker's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsCounts {
    /// Messages that were read.
    pub messages: u64,
    /// Packets, or parts of a TCP stream, that are no message.
    pub malformed: u64,
    /// Queries without an answer.
    pub unanswered: u64,
    /// Messages that the agent was not told of: too many waited for it.
    pub untold: u64,
    /// Queries and TCP streams that were forgotten before their time: there were too many.
    pub forgotten: u64,
}

impl DnsSeen {
    /// Texts printable and bounded, lists bounded: what is above is left out.
    pub(crate) fn bounded(mut self) -> Self {
        self.query = printable(&self.query, NAME_MAX);
        self.qtype = printable(&self.qtype, TYPE_MAX);
        if let DnsEvent::Answer(answer) = &mut self.event {
            answer.addresses.truncate(DNS_ADDRESSES_MAX);
            answer.aliases.truncate(DNS_ALIASES_MAX);
            answer.rrtypes.truncate(DNS_TYPES_MAX);
            answer.aliases.iter_mut().for_each(|name| *name = printable(name, NAME_MAX));
            answer.rrtypes.iter_mut().for_each(|kind| *kind = printable(kind, TYPE_MAX));
        }
        self
    }

    fn characters(&self) -> usize {
        let of_answer = match &self.event {
            DnsEvent::Answer(answer) => {
                let texts = answer.aliases.iter().chain(&answer.rrtypes).map(|text| text.len() + 3);
                texts.sum::<usize>() + answer.addresses.len() * 42
            }
            DnsEvent::Query | DnsEvent::GivenUp => 0,
        };
        400 + self.query.len() + of_answer
    }
}

/// Takes as many from the front as one message holds.
pub fn take_batch(waiting: &mut std::collections::VecDeque<DnsSeen>) -> Vec<DnsSeen> {
    let (mut batch, mut characters) = (Vec::new(), 0);
    while let Some(next) = waiting.front() {
        characters += next.characters();
        if characters > BATCH_MAX && !batch.is_empty() {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}

/// The parser escapes all else.
fn printable(text: &str, most: usize) -> String {
    text.chars().take(most).map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{Message, channel::MESSAGE_MAX};

    /// An answer with everything that an answer may have, of names with so many backslashes.
    pub(crate) fn largest_answer() -> DnsSeen {
        let name = "\\".repeat(NAME_MAX);
        DnsSeen {
            time_ns: u64::MAX,
            interface: u32::MAX,
            received: false,
            tcp: true,
            source: "[2001:db8:1111:2222:3333:4444:5555:6666]:53000".parse().unwrap(),
            destination: "[2001:db8:1111:2222:3333:4444:5555:7777]:53".parse().unwrap(),
            connection: u64::MAX,
            passing: true,
            query: name.clone(),
            qtype: "TYPE65535".into(),
            event: DnsEvent::Answer(DnsAnswered {
                latency_ns: Some(u64::MAX),
                rcode: u16::MAX,
                ttl: Some(u32::MAX),
                addresses: vec!["2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(); DNS_ADDRESSES_MAX],
                aliases: vec![name; DNS_ALIASES_MAX],
                rrtypes: vec!["TYPE65535".into(); DNS_TYPES_MAX],
            }),
        }
    }

    #[test]
    fn every_batch_fits_into_a_message() {
        let small = DnsSeen { query: "a.".into(), event: DnsEvent::Query, ..largest_answer() };
        for one in [largest_answer(), small] {
            let mut waiting = VecDeque::from(vec![one; 500]);
            let mut taken = 0;
            while !waiting.is_empty() {
                let batch = take_batch(&mut waiting);
                taken += batch.len();
                assert!(Message::DnsSeen(batch).encode().unwrap().len() <= MESSAGE_MAX);
            }
            assert_eq!(taken, 500);
        }
    }

    #[test]
    fn lists_and_texts_of_a_hostile_worker_are_bounded() {
        let mut hostile = DnsSeen { query: "a\n\u{202e}".into(), ..largest_answer() };
        let DnsEvent::Answer(answer) = &mut hostile.event else { panic!() };
        answer.aliases = vec!["x".repeat(5000); 20];
        answer.addresses = vec![[10, 0, 0, 1].into(); 1000];
        let bounded = hostile.bounded();
        assert_eq!(bounded.query, "a??");
        let DnsEvent::Answer(answer) = bounded.event else { panic!() };
        assert_eq!((answer.aliases.len(), answer.aliases[0].len()), (DNS_ALIASES_MAX, NAME_MAX));
        assert_eq!(answer.addresses.len(), DNS_ADDRESSES_MAX);
        assert_eq!(largest_answer().bounded(), largest_answer());
    }
}
