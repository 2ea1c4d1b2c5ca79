//! `KafkaParser`: the state of one connection. Answers are paired with requests by their correlation ids.

use std::collections::HashMap;
use std::sync::Arc;

use super::api;
use super::body::{Body, TopicId};
use super::decoder::Decoder;
use super::half::{Half, Message, State};
use super::header::{self, ANSWER_BYTES, Header};
use crate::exchange::ExchangeQueue;
use crate::pair::ById;
use crate::{Exchange, Fields, KafkaFields, Parser, Role, Settings, Side, Step, Times, Transport};

/// A group waits for its members, as long as the longest of their timeouts, which is five minutes by default.
const UNANSWERED_MAX: u64 = 15 * 60 * 1_000_000_000;
/// Topics whose names were seen with their ids.
const NAMES_MAX: usize = 512;
/// Metadata: its answers name topics.
const METADATA: i16 = 3;

pub(super) struct RequestHeader {
    key: i16,
    version: i16,
    correlation: i32,
    client: Arc<str>,
}

/// A request that waits for its answer.
struct Request {
    header: RequestHeader,
    text: String,
    /// Names of topics, or of the group.
    target: String,
    at: Times,
    bytes: u64,
}

pub(super) struct KafkaParser {
    role: Role,
    transport: Transport,
    mid_stream: bool,
    masks: bool,
    asked: Half<RequestHeader>,
    answered: Half<i32>,
    waiting: ById<i32, Request>,
    /// Names of topics by their ids, as answers to Metadata gave them.
    names: HashMap<TopicId, String>,
    client: Arc<str>,
    finished: ExchangeQueue,
    fitted: bool,
}

impl KafkaParser {
    pub(super) fn new(role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Self {
        Self {
            role,
            transport,
            mid_stream,
            masks: settings.masks,
            asked: Half::new(mid_stream, settings.masks),
            answered: Half::new(mid_stream, settings.masks),
            waiting: ById::waiting_for(UNANSWERED_MAX),
            names: HashMap::new(),
            client: "".into(),
            finished: ExchangeQueue::default(),
            fitted: false,
        }
    }

    fn parse_request(&mut self, bytes: &[u8], at: Times) -> Step {
        match &self.asked.state {
            State::Body(_) => {
                let (taken, message) = self.asked.go_on(bytes, at);
                message.into_iter().for_each(|message| self.ask(message));
                Step::Message { bytes: taken }
            }
            State::Searching => self.search_request(bytes, at),
            State::Header => match header::request(bytes) {
                Header::Request(header) => self.begin_request(&header, bytes, at),
                Header::More => Step::NeedMore,
                Header::No if self.fitted => {
                    self.asked.state = State::Searching;
                    Step::Skip { bytes: 1 }
                }
                Header::No => Step::NotMine,
            },
        }
    }

    fn begin_request(&mut self, header: &header::RequestHeader<'_>, bytes: &[u8], at: Times) -> Step {
        if self.client.as_bytes() != header.client {
            self.client = String::from_utf8_lossy(header.client).into();
        }
        let schema = api::request_schema(header.key, header.version);
        let decoder = schema.map(|schema| Decoder::new(schema, header.version, true, self.masks));
        let client = self.client.clone();
        let own = RequestHeader { key: header.key, version: header.version, correlation: header.correlation, client };
        let message = Message::new(own, header.bytes, header.body, decoder, at);
        let (taken, message) = self.asked.begin(message, header.bytes, bytes, at);
        message.into_iter().for_each(|message| self.ask(message));
        Step::Message { bytes: taken }
    }

    fn search_request(&mut self, bytes: &[u8], at: Times) -> Step {
        for skipped in 0..bytes.len() {
            match header::request(bytes.get(skipped..).unwrap_or_default()) {
                Header::No => {}
                Header::More if skipped == 0 => return Step::NeedMore,
                Header::Request(header) if skipped == 0 => return self.begin_request(&header, bytes, at),
                Header::More | Header::Request(_) => return Step::Skip { bytes: skipped },
            }
        }
        Step::Skip { bytes: bytes.len() }
    }

    fn parse_answer(&mut self, bytes: &[u8], at: Times) -> Step {
        if let State::Body(_) = self.answered.state {
            let (taken, message) = self.answered.go_on(bytes, at);
            message.into_iter().for_each(|message| self.answer(message));
            return Step::Message { bytes: taken };
        }
        if bytes.len() < ANSWER_BYTES {
            return Step::NeedMore;
        }
        let found = header::answer(bytes);
        let asked = found.and_then(|(correlation, _)| self.waiting.get(&correlation));
        let asked = asked.map(|request| (request.header.key, request.header.version));
        match (found, asked, &self.answered.state) {
            (Some((correlation, body)), Some((key, version)), _) => {
                let schema = api::answer_schema(key, version);
                let decoder = schema.map(|schema| Decoder::new(schema, version, schema.tags_in_header, self.masks));
                self.begin_answer(correlation, body, decoder, bytes, at)
            }
            // Behind a gap messages mostly begin where a call begins.
            (_, _, State::Searching) => Step::Skip { bytes: bytes.len() },
            // Its request was not seen.
            (Some((correlation, body)), None, _) if self.fitted || self.mid_stream => {
                self.begin_answer(correlation, body, None, bytes, at)
            }
            _ if self.fitted => {
                self.answered.state = State::Searching;
                Step::Skip { bytes: bytes.len() }
            }
            _ => Step::NotMine,
        }
    }

    fn begin_answer(&mut self, correlation: i32, body: u64, decoder: Option<Decoder>, bytes: &[u8], at: Times) -> Step {
        let message = Message::new(correlation, ANSWER_BYTES, body, decoder, at);
        let (taken, message) = self.answered.begin(message, ANSWER_BYTES, bytes, at);
        message.into_iter().for_each(|message| self.answer(message));
        Step::Message { bytes: taken }
    }

    /// A request has come whole.
    fn ask(&mut self, message: Message<RequestHeader>) {
        let (at, bytes) = (message.at, message.bytes);
        let (header, body) = message.into_parts();
        let wants_no_answer = body.as_ref().is_some_and(Body::wants_no_answer);
        let (text, target) = self.described(body.as_ref());
        let request = Request { header, text, target, at, bytes };
        if wants_no_answer {
            self.finished.push(request.exchange(None, 0, at.last));
            return;
        }
        let size = request.text.len() + request.target.len();
        self.waiting.ask(request.header.correlation, request, size, at);
    }

    fn answer(&mut self, message: Message<i32>) {
        let (at, bytes) = (message.at, message.bytes);
        let (correlation, body) = message.into_parts();
        let Some(request) = self.waiting.answer(&correlation, at) else { return };
        self.fitted = true;
        if request.header.key == METADATA
            && let Some(body) = &body
        {
            self.learn_names(body);
        }
        let text = self.described(body.as_ref()).0;
        let error = body.as_ref().and_then(Body::first_error);
        self.finished.push(request.exchange(Some((text, error)), bytes, at.last));
    }

    fn learn_names(&mut self, body: &Body) {
        for topic in &body.topics {
            if let Some(id) = topic.id
                && !topic.name.is_empty()
                && (self.names.len() < NAMES_MAX || self.names.contains_key(&id))
            {
                self.names.insert(id, topic.name.clone());
            }
        }
    }

    /// The body as JSON, and what it is about.
    fn described(&self, body: Option<&Body>) -> (String, String) {
        let Some(body) = body else { return (String::new(), String::new()) };
        let mut body = body.clone();
        for topic in &mut body.topics {
            if let Some(name) = topic.id.and_then(|id| self.names.get(&id)).filter(|_| topic.name.is_empty()) {
                topic.name.clone_from(name);
            }
        }
        let topics: Vec<String> = body.topics.iter().map(|topic| topic.shown()).collect();
        let target = if topics.is_empty() { body.group.clone().unwrap_or_default() } else { topics.join(", ") };
        (body.json(), target)
    }

    fn sides_request(&self, side: Side) -> bool {
        side.asks(self.role)
    }
}

impl Request {
    /// `answer`: its text, and the first error in it; none: none is sent.
    fn exchange(self, answer: Option<(String, Option<i64>)>, response_bytes: u64, ended: u64) -> Exchange {
        let is_answered = answer.is_some();
        let (response, error) = answer.unwrap_or_default();
        let error = error.and_then(|error| i16::try_from(error).ok());
        Exchange {
            started: self.at.first,
            asked: self.at.last,
            ended,
            request_bytes: self.bytes,
            response_bytes,
            is_error: error.is_some_and(|error| error != 0),
            mid_stream: false,
            fields: Fields::Kafka(KafkaFields {
                api_key: self.header.key,
                api_version: self.header.version,
                client_id: self.header.client.to_string(),
                request: self.text,
                response,
                target: self.target,
                is_answered,
                error,
            }),
        }
    }
}

impl Parser for KafkaParser {
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        match self.transport {
            Transport::Datagram => Step::NotMine,
            Transport::Stream if self.sides_request(side) => self.parse_request(bytes, at),
            Transport::Stream => self.parse_answer(bytes, at),
        }
    }

    fn gap(&mut self, side: Side, bytes: u64, at: Times) {
        if self.sides_request(side) {
            let (message, _) = self.asked.gap(bytes, at);
            message.into_iter().for_each(|message| self.ask(message));
        } else {
            let (message, _) = self.answered.gap(bytes, at);
            message.into_iter().for_each(|message| self.answer(message));
        }
    }

    fn finish(&mut self, _: Times) {
        self.waiting.finish();
    }

    fn take_exchange(&mut self) -> Option<Exchange> {
        self.finished.pop()
    }

    fn memory(&self) -> usize {
        let names: usize = self.names.values().map(|name| name.capacity() + 2 * size_of::<(TopicId, String)>()).sum();
        size_of::<Self>()
            + self.asked.memory()
            + self.answered.memory()
            + self.waiting.memory()
            + names
            + self.finished.memory()
    }

    fn confirmed(&self) -> bool {
        self.fitted
    }

    fn lost(&self) -> u64 {
        self.waiting.lost()
    }

    fn mask(&self, side: Side, taken: &mut [u8]) {
        if self.sides_request(side) { self.asked.mask(taken) } else { self.answered.mask(taken) }
    }
}
