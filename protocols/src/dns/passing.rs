//! One message as a listener reads it who sees packets and no connection.

use std::net::IpAddr;

use super::message::{A, AAAA, CNAME, Message, Record, kind_name};

/// A query or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsMessage {
    /// An answer has that of its query.
    pub id: u16,
    /// It answers.
    pub is_answer: bool,
    /// With the bits that EDNS adds.
    pub rcode: u16,
    /// What is asked; empty where a server that refuses leaves it out.
    pub question: Option<DnsQuestion>,
    /// The answer section, as far as it is there.
    pub answers: Vec<DnsAnswer>,
}

/// A name and a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsQuestion {
    /// In lower case, with its last dot.
    pub name: String,
    /// E.g. `A`.
    pub kind: String,
}

/// A record of the answer section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// E.g. `A`.
    pub kind: String,
    /// Seconds.
    pub ttl: u32,
    /// What it says.
    pub data: DnsData,
}

/// The data of a record, as far as it leads from a name to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsData {
    /// Of type A or AAAA.
    Address(IpAddr),
    /// The name that a CNAME leads to, in lower case, with its last dot.
    Alias(String),
    /// Of another type, or not readable.
    Other,
}

impl DnsMessage {
    /// Reads a message; records that are cut off are left out. None if a resolver or server would not send it.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let message = Message::read(bytes).filter(|message| message.header.is_plausible())?;
        let question = message.questions.first();
        Some(Self {
            id: message.header.id,
            is_answer: message.header.is_answer(),
            rcode: message.rcode,
            question: question.map(|asked| DnsQuestion { name: whole(&asked.name), kind: kind_name(asked.kind) }),
            answers: message.answers.iter().map(answer).collect(),
        })
    }

    /// The shortest time for which a record holds; none without records.
    pub fn ttl(&self) -> Option<u32> {
        self.answers.iter().map(|answer| answer.ttl).min()
    }
}

fn answer(record: &Record) -> DnsAnswer {
    let data = match record.kind {
        A | AAAA => record.data.parse().map_or(DnsData::Other, DnsData::Address),
        CNAME if !record.data.is_empty() => DnsData::Alias(whole(&record.data)),
        _ => DnsData::Other,
    };
    DnsAnswer { kind: kind_name(record.kind), ttl: record.ttl, data }
}

/// Names of messages have no last dot, but for the root.
fn whole(name: &str) -> String {
    let mut name = name.to_ascii_lowercase();
    if name != "." {
        name.push('.');
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Shop.example A`, answered by an alias of 60 s and an address of 30 s.
    const ANSWER: &[u8] = b"\xdb\x42\x81\x80\0\x01\0\x02\0\0\0\0\x04Shop\x07example\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03web\xc0\x11\xc0\x2a\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\x07";

    #[test]
    fn answer_has_addresses_aliases_and_the_shortest_ttl() {
        let message = DnsMessage::read(ANSWER).unwrap();
        assert_eq!((message.id, message.is_answer, message.rcode), (0xdb42, true, 0));
        assert_eq!(message.question, Some(DnsQuestion { name: "shop.example.".into(), kind: "A".into() }));
        let data: Vec<_> = message.answers.iter().map(|answer| (answer.kind.as_str(), answer.data.clone())).collect();
        let address = DnsData::Address([10, 0, 0, 7].into());
        assert_eq!(data, [("CNAME", DnsData::Alias("web.example.".into())), ("A", address)]);
        assert_eq!(message.ttl(), Some(30));
    }

    #[test]
    fn truncated_answer_has_the_records_that_are_there() {
        let message = DnsMessage::read(&ANSWER[..ANSWER.len() - 3]).unwrap();
        assert_eq!((message.answers.len(), message.ttl()), (1, Some(60)));
        assert_eq!(DnsMessage::read(&ANSWER[..20]), None);
    }

    #[test]
    fn refusal_may_lack_its_question() {
        let message = DnsMessage::read(b"\0\x09\x81\x05\0\0\0\0\0\0\0\0").unwrap();
        assert_eq!((message.id, message.rcode, message.question, message.answers.len()), (9, 5, None, 0));
    }

    #[test]
    fn root_is_a_dot() {
        let message = DnsMessage::read(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01").unwrap();
        assert_eq!(message.question, Some(DnsQuestion { name: ".".into(), kind: "NS".into() }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = DnsMessage::read(&bytes);
        }

        #[test]
        fn cut_or_changed_answer_is_read_or_refused(at in 0..ANSWER.len(), to: u8, cut in 0..ANSWER.len()) {
            let mut bytes = ANSWER.to_vec();
            bytes[at] = to;
            let _ = DnsMessage::read(&bytes);
            if let Some(message) = DnsMessage::read(&ANSWER[..cut]) {
                prop_assert!(message.answers.len() <= 2);
            }
        }
    }
}
