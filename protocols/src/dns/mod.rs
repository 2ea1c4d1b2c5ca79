//! DNS over UDP and TCP: questions and answers paired by id and question, in any order.

mod json;
mod message;
mod passing;

use self::message::{HEADER_BYTES, Header, Message, hidden, kind_name, rcode_name};
pub use self::passing::{DnsAnswer, DnsData, DnsMessage, DnsQuestion};
use crate::exchange::ExchangeQueue;
use crate::pair::ById;
use crate::{DnsFields, Exchange, Fields, Guess, Name, Parser, Protocol, Role, Settings, Side, Step, Times, Transport};

/// Bytes before each message on TCP, which say how long it is.
const PREFIX_BYTES: usize = 2;

/// Bytes of the shortest question: the root, a type and a class.
const QUESTION_BYTES_MIN: usize = 5;

/// DNS.
pub struct Dns;

impl Protocol for Dns {
    fn name(&self) -> Name {
        Name::Dns
    }

    fn infer(&self, first: &[u8], side: Side) -> Guess {
        let role = |is_answer: bool| if is_answer { Role::of_answering(side) } else { Role::of_asking(side) };
        if let Some(message) = Message::read(first).filter(Message::is_certain) {
            return Guess::Sure(role(message.header.is_answer()));
        }
        let Some(length) = prefix(first) else { return Guess::Maybe(Role::of_asking(side)) };
        if length < HEADER_BYTES + QUESTION_BYTES_MIN {
            return Guess::No;
        }
        let rest = first.get(PREFIX_BYTES..).unwrap_or_default();
        let Some(header) = Header::read(rest) else {
            // Queries are short; what is longer is not waited for.
            return if length <= 1024 && rest.len() < HEADER_BYTES { Guess::Maybe(role(false)) } else { Guess::No };
        };
        let whole = rest.get(..length).and_then(Message::read);
        match whole {
            Some(message) if message.is_certain() => Guess::Sure(role(header.is_answer())),
            None if rest.len() < length && header.is_plausible() => Guess::Maybe(role(header.is_answer())),
            _ => Guess::No,
        }
    }

    fn connection(&self, role: Role, transport: Transport, mid_stream: bool, _: &Settings) -> Box<dyn Parser> {
        Box::new(DnsConnection {
            role,
            transport,
            questions: Half { searching: mid_stream, ..Half::default() },
            answers: Half { searching: mid_stream, ..Half::default() },
            asked: ById::new(),
            finished: ExchangeQueue::default(),
            confirmed: false,
        })
    }
}

fn prefix(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk::<PREFIX_BYTES>().map(|length| usize::from(u16::from_be_bytes(*length)))
}

/// What an answer repeats of its query: the id, and the first question in lower case.
type Id = (u16, String, u16);

struct Query {
    at: Times,
    bytes: u64,
    header: String,
    body: String,
}

struct DnsConnection {
    role: Role,
    transport: Transport,
    questions: Half,
    answers: Half,
    asked: ById<Id, Query>,
    finished: ExchangeQueue,
    confirmed: bool,
}

/// One direction of a TCP connection.
#[derive(Default)]
struct Half {
    /// Bytes of the message that is awaited, with its prefix.
    awaited: usize,
    /// Bytes left of a message that is not read because some of it is missing.
    unreadable: u64,
    /// After a loss: until a call begins with a message.
    searching: bool,
}

impl Parser for DnsConnection {
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        match self.transport {
            Transport::Datagram => match self.read(side, bytes, bytes.len(), at) {
                true => Step::Message { bytes: bytes.len() },
                false if self.confirmed => Step::Skip { bytes: bytes.len() },
                false => Step::NotMine,
            },
            Transport::Stream => self.parse_stream(side, bytes, at),
        }
    }

    fn gap(&mut self, side: Side, bytes: u64, _: Times) {
        if self.transport == Transport::Datagram {
            return;
        }
        let half = self.half(side);
        let left = half.unreadable.max(half.awaited as u64);
        half.awaited = 0;
        half.unreadable = left.saturating_sub(bytes);
        // With nothing awaited it is not known how many messages are missing.
        half.searching |= left == 0 || bytes > left;
    }

    fn finish(&mut self, _: Times) {
        self.asked.finish();
    }

    fn take_exchange(&mut self) -> Option<Exchange> {
        self.finished.pop()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.asked.memory() + self.finished.memory()
    }

    fn confirmed(&self) -> bool {
        self.confirmed
    }

    fn lost(&self) -> u64 {
        self.asked.lost()
    }

    fn mask(&self, _: Side, taken: &mut [u8]) {
        let start = if self.transport == Transport::Stream { PREFIX_BYTES.min(taken.len()) } else { 0 };
        let message = taken.get_mut(start..).unwrap_or_default();
        // Pointers of later names may lead to what is overwritten: a zero ends a name.
        hidden(message).into_iter().for_each(|hidden| message.get_mut(hidden).unwrap_or_default().fill(0));
    }
}

impl DnsConnection {
    fn half(&mut self, side: Side) -> &mut Half {
        if side.asks(self.role) { &mut self.questions } else { &mut self.answers }
    }

    fn parse_stream(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        let half = self.half(side);
        if half.unreadable > 0 {
            let taken = usize::try_from(half.unreadable).unwrap_or(usize::MAX).min(bytes.len());
            half.unreadable -= taken as u64;
            return Step::Skip { bytes: taken };
        }
        let Some(length) = prefix(bytes) else { return Step::NeedMore };
        let rest = bytes.get(PREFIX_BYTES..).unwrap_or_default();
        let implausible = length < HEADER_BYTES || Header::read(rest).is_some_and(|header| !header.is_plausible());
        match rest.get(..length) {
            _ if implausible => self.refuse(side, bytes),
            None => {
                half.awaited = PREFIX_BYTES + length;
                Step::NeedMore
            }
            Some(message) => {
                half.awaited = 0;
                if self.read(side, message, PREFIX_BYTES + length, at) {
                    self.half(side).searching = false;
                    Step::Message { bytes: PREFIX_BYTES + length }
                } else {
                    self.refuse(side, bytes)
                }
            }
        }
    }

    fn refuse(&mut self, side: Side, bytes: &[u8]) -> Step {
        let confirmed = self.confirmed;
        let half = self.half(side);
        if !confirmed && !half.searching {
            return Step::NotMine;
        }
        half.searching = true;
        half.awaited = 0;
        Step::Skip { bytes: bytes.len() }
    }

    /// Reads one message of `size` bytes on the wire; `false`: it is none of this direction.
    fn read(&mut self, side: Side, bytes: &[u8], size: usize, at: Times) -> bool {
        let asks = side.asks(self.role);
        let Some(message) = Message::read(bytes) else { return false };
        if !message.header.is_plausible() || message.header.is_answer() == asks {
            return false;
        }
        if asks {
            self.ask(&message, size, at)
        } else {
            self.answer(&message, size, at)
        }
        true
    }

    fn ask(&mut self, message: &Message, size: usize, at: Times) {
        let query =
            Query { at, bytes: size as u64, header: json::header(&message.header), body: json::queries(message) };
        let Some(id) = id(message) else { return };
        let held = id.1.len() * 2 + query.header.len() + query.body.len();
        self.asked.ask(id, query, held, at);
    }

    fn answer(&mut self, message: &Message, size: usize, at: Times) {
        // Servers that refuse a query may leave its question out.
        let recent = || self.asked.find_recent(|asked| asked.0 == message.header.id);
        let id = id(message).or_else(recent).unwrap_or_default();
        let Some(query) = self.asked.answer(&id, at) else { return };
        self.confirmed = true;
        let (name, kind) = match message.questions.first() {
            Some(question) => (question.name.clone(), question.kind),
            None => (id.1, id.2),
        };
        self.finished.push(Exchange {
            started: query.at.first,
            asked: query.at.last,
            ended: at.last,
            request_bytes: query.bytes,
            response_bytes: size as u64,
            is_error: message.rcode != 0,
            mid_stream: false,
            fields: Fields::Dns(DnsFields {
                id: message.header.id,
                name,
                kind: kind_name(kind),
                rcode: rcode_name(message.rcode),
                answers: message.answers.iter().map(|record| record.data.clone()).collect(),
                request_header: query.header,
                request_body: query.body,
                response_header: json::header(&message.header),
                response_body: json::answers(message),
            }),
        });
    }
}

fn id(message: &Message) -> Option<Id> {
    let question = message.questions.first()?;
    Some((message.header.id, question.name.to_ascii_lowercase(), question.kind))
}

#[cfg(test)]
mod tests;
