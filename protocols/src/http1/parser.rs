//! The state of one connection: both directions, and the requests that wait for their answers.

use std::sync::Arc;

use super::body::{Body, Read};
use super::columns::{self, Answer, Request};
use super::half::{Half, Message, Origin, Start, State, start};
use super::head::{Framing, Headers, begins_with_method, may_be_request, may_be_status, status_line, trimmed};
use super::mask::{Taken, mask};
use crate::exchange::ExchangeQueue;
use crate::http2;
use crate::limits::TEXT_MAX;
use crate::pair::InOrder;
use crate::{Exchange, Parser, Role, Settings, Side, Step, Times};

/// Longest start line that is waited for.
const START_LINE_MAX: usize = 64 << 10;

pub(super) struct HttpConnection {
    role: Role,
    /// Bytes were missed: what does not fit is no proof of another protocol.
    joined: bool,
    keep_max: usize,
    redact: Arc<[String]>,
    requests: Half,
    answers: Half,
    /// Number of the request whose body is being read, or was read last.
    open_request: u64,
    pairs: InOrder<Request, Answer>,
    /// Exchanges of before an upgrade to HTTP/2.
    finished: ExchangeQueue,
    /// What follows such an upgrade.
    upgraded: Option<Box<dyn Parser>>,
    /// The bytes that were understood last are those of the answer that upgrades.
    is_switching: bool,
    settings: Settings,
    confirmed: bool,
    lengths_only: bool,
    not_understood: u64,
    taken: Taken,
}

impl Parser for HttpConnection {
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        if let Some(upgraded) = &mut self.upgraded {
            self.is_switching = false;
            return upgraded.parse(side, bytes, at);
        }
        if self.lengths_only {
            self.taken = Taken::Nothing;
            return Step::Message { bytes: bytes.len() };
        }
        let asks = side.asks(self.role);
        match self.half(asks).state {
            State::StartLine => self.parse_start_line(asks, bytes, at),
            State::Headers => self.parse_headers(asks, bytes, at),
            State::Body => self.parse_body(asks, bytes, at),
            State::Searching => self.search(asks, bytes, at),
        }
    }

    fn gap(&mut self, side: Side, bytes: u64, at: Times) {
        if let Some(upgraded) = &mut self.upgraded {
            return upgraded.gap(side, bytes, at);
        }
        if self.lengths_only {
            return;
        }
        let asks = side.asks(self.role);
        // Where the last byte is among the missing ones, the last byte that was seen stands for it.
        let at = Times { first: at.first, last: at.first };
        let half = self.half(asks);
        let skipped = match (half.state, &mut half.message) {
            (State::Body, Some(message)) => message.body.skip(bytes),
            _ => None,
        };
        if let Some(skipped) = skipped {
            half.bytes += skipped;
            self.note_body(asks, at);
            if skipped == bytes {
                return;
            }
        }
        self.lose_step(asks);
    }

    fn finish(&mut self, at: Times) {
        if let Some(upgraded) = &mut self.upgraded {
            upgraded.finish(at);
        }
        let unfinished = self.answers.message.as_ref().is_some_and(|message| message.body.lasts_until_end());
        if self.answers.state == State::Body && unfinished {
            self.complete(false, at);
        }
        self.pairs.finish();
    }

    fn take_exchange(&mut self) -> Option<Exchange> {
        let paired = || self.pairs.take_pair().map(|(request, answer)| columns::exchange(request, answer));
        let exchange = self.finished.pop().or_else(paired);
        exchange.or_else(|| self.upgraded.as_mut().and_then(|upgraded| upgraded.take_exchange()))
    }

    fn memory(&self) -> usize {
        let upgraded = self.upgraded.as_ref().map_or(0, |upgraded| upgraded.memory());
        let halves = self.requests.memory() + self.answers.memory();
        size_of::<Self>() + halves + self.pairs.memory() + self.finished.memory() + upgraded
    }

    fn confirmed(&self) -> bool {
        self.confirmed || self.pairs.has_paired()
    }

    fn lost(&self) -> u64 {
        let upgraded = self.upgraded.as_ref().map_or(0, |upgraded| upgraded.lost());
        self.pairs.lost() + self.not_understood + upgraded
    }

    /// Not without pipelining.
    fn has_many_in_a_call(&self) -> bool {
        self.pairs.has_pipelined() || self.upgraded.is_some()
    }

    fn mask(&self, side: Side, taken: &mut [u8]) {
        // The answer that upgrades is understood by this parser still.
        if let Some(upgraded) = self.upgraded.as_ref().filter(|_| !self.is_switching) {
            return upgraded.mask(side, taken);
        }
        mask(self.taken, taken, &self.redact);
    }

    fn lengths_only(&self) -> bool {
        self.lengths_only
    }
}

impl HttpConnection {
    pub(super) fn new(role: Role, mid_stream: bool, settings: &Settings) -> Self {
        Self {
            role,
            joined: mid_stream,
            keep_max: settings.payload_bytes,
            redact: settings.redact_headers.clone(),
            requests: Half::new(mid_stream),
            answers: Half::new(mid_stream),
            open_request: 0,
            pairs: InOrder::new(mid_stream),
            finished: ExchangeQueue::default(),
            upgraded: None,
            is_switching: false,
            settings: settings.clone(),
            confirmed: false,
            lengths_only: false,
            not_understood: 0,
            taken: Taken::default(),
        }
    }

    fn half(&mut self, asks: bool) -> &mut Half {
        if asks { &mut self.requests } else { &mut self.answers }
    }

    fn parse_start_line(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        self.taken = Taken::LineEnd;
        match bytes {
            [b'\n', ..] => return Step::Message { bytes: 1 },
            [b'\r', b'\n', ..] => return Step::Message { bytes: 2 },
            [b'\r'] => return Step::NeedMore,
            _ => {}
        }
        let half = self.half(asks);
        let Some(line) = half.line_search.find(bytes) else {
            let may_be = if asks { may_be_request(bytes) } else { may_be_status(bytes) };
            return if may_be && bytes.len() <= START_LINE_MAX { Step::NeedMore } else { self.refuse(asks, bytes, at) };
        };
        let taken = line.len();
        let Some(start) = start(asks, trimmed(line)) else { return self.refuse(asks, bytes, at) };
        self.taken = Taken::StartLine;
        let headers = Headers::new(&self.redact);
        let half = self.half(asks);
        // Interim answers count for the final one.
        half.bytes += taken as u64;
        half.state = State::Headers;
        half.message = Some(Box::new(Message {
            started: at.first,
            start,
            headers,
            body: Body::new(Framing::None, 0),
            origin: Origin::Asked,
            may_lack_body: None,
        }));
        Step::Message { bytes: taken }
    }

    fn parse_headers(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        let half = self.half(asks);
        let line = half.line_search.find(bytes);
        let taken = match line {
            Some(line) => line.len(),
            None if bytes.len() > TEXT_MAX || half.in_long_line => bytes.len(),
            None => return Step::NeedMore,
        };
        half.bytes += taken as u64;
        half.line_search.reset();
        let continues = std::mem::replace(&mut half.in_long_line, line.is_none());
        let line = trimmed(line.unwrap_or(bytes));
        if continues {
            self.taken = Taken::HiddenLine;
        } else if line.is_empty() {
            self.taken = Taken::LineEnd;
            self.finish_head(asks, at);
        } else {
            if let Some(message) = &mut half.message {
                message.headers.add_line(line);
            }
            self.taken = Taken::HeaderLine;
        }
        Step::Message { bytes: taken }
    }

    fn parse_body(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        let half = self.half(asks);
        let Some(message) = &mut half.message else { return self.refuse(asks, bytes, at) };
        if let Some(ended) = message.may_lack_body {
            if may_be_status(bytes) {
                if bytes.len() < b"HTTP/1.1 200".len() {
                    return Step::NeedMore;
                }
                self.complete(asks, ended);
                self.half(asks).resumed = true;
                return self.parse_start_line(asks, bytes, at);
            }
            message.may_lack_body = None;
        } else if half.resumed && !asks && status_line(bytes.get(..12).unwrap_or_default()).is_some() {
            // What was taken for a message after the loss was a part of a body.
            self.lose_step(asks);
            return self.search(asks, bytes, at);
        }
        let part = message.body.next_part(columns::shows_text(&message.headers, asks));
        match message.body.read(bytes) {
            Read::Bytes(taken) => {
                half.bytes += taken as u64;
                self.taken = part;
                self.note_body(asks, at);
                Step::Message { bytes: taken }
            }
            Read::NeedMore => Step::NeedMore,
            Read::Broken => self.refuse(asks, bytes, at),
        }
    }

    /// The bytes are not what the messages before promised.
    fn refuse(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        if !self.confirmed() && !self.joined {
            return Step::NotMine;
        }
        self.not_understood += u64::from(asks);
        self.lose_step(asks);
        self.search(asks, bytes, at)
    }

    fn lose_step(&mut self, asks: bool) {
        self.joined = true;
        if asks {
            self.requests.search();
            self.pairs.requests_lost();
        } else {
            self.answers.search();
            self.pairs.answers_lost();
        }
    }

    /// Only what a call begins with is believed to be a message: bodies may contain anything, messages too.
    fn search(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        let half = self.half(asks);
        let line = half.line_search.find(bytes);
        let may_be = if asks { begins_with_method(bytes) } else { may_be_status(bytes) };
        match line {
            None if may_be && bytes.len() <= START_LINE_MAX => Step::NeedMore,
            Some(line) if may_be && start(asks, trimmed(line)).is_some() => {
                *half = Half { resumed: true, ..Half::new(false) };
                self.parse_start_line(asks, bytes, at)
            }
            _ => {
                half.line_search.reset();
                // Whole messages may be among what is skipped.
                let is_rest_of_body = half.never_in_step && self.pairs.front().is_none();
                match asks {
                    _ if is_rest_of_body => {}
                    true => self.pairs.requests_lost(),
                    false => self.pairs.answers_lost(),
                }
                Step::Skip { bytes: bytes.len() }
            }
        }
    }

    fn finish_head(&mut self, asks: bool, at: Times) {
        let Some(message) = &self.half(asks).message else { return };
        match &message.start {
            Start::Request { .. } => self.finish_request_head(at),
            Start::Status { status, .. } => {
                let status = *status;
                self.finish_answer_head(status, at);
            }
        }
    }

    fn finish_request_head(&mut self, at: Times) {
        let keep_max = self.keep_max;
        let Some(mut message) = self.requests.message.take() else { return };
        let framing = message.headers.request_framing();
        message.body = Body::new(framing, keep_max);
        self.open_request += 1;
        let request = Request::new(&mut message, self.open_request, self.requests.bytes, at);
        let size = request.memory();
        // Asked before its body has come: some servers answer before.
        self.pairs.ask(request, size, Times { first: message.started, last: at.last });
        self.requests.state = State::Body;
        self.requests.message = Some(message);
        if framing == Framing::Contradicting {
            self.not_understood += 1;
            self.lose_step(true);
        } else {
            self.note_body(true, at);
        }
    }

    fn finish_answer_head(&mut self, status: u16, at: Times) {
        if (100..200).contains(&status) && status != 101 {
            self.answers.state = State::StartLine;
            self.answers.message = None;
            return;
        }
        let asked = self.pairs.front();
        let (known, is_head) = (asked.is_some(), asked.is_some_and(|request| request.method == "HEAD"));
        let is_tunnel =
            status == 101 || (200..300).contains(&status) && asked.is_some_and(|request| request.method == "CONNECT");
        let certain = self.pairs.is_front_proven();
        let origin = match known {
            true => Origin::Asked,
            false if self.pairs.begin_unasked() => Origin::Unasked(at.first),
            false => Origin::GivenUp,
        };
        self.confirmed |= known;
        let keep_max = self.keep_max;
        let Some(message) = &mut self.answers.message else { return };
        let is_http2 = status == 101 && message.headers.upgrades_to_http2();
        let framing = if is_head || is_tunnel || matches!(status, 204 | 304) {
            Framing::None
        } else {
            message.headers.answer_framing()
        };
        message.body = Body::new(framing, keep_max);
        message.origin = origin;
        message.may_lack_body = (!certain && framing != Framing::None).then_some(at);
        self.answers.state = State::Body;
        if framing == Framing::Contradicting {
            self.lose_step(false);
            return;
        }
        self.lengths_only = is_tunnel && !is_http2;
        self.note_body(false, at);
        if is_http2 {
            self.upgrade();
        }
    }

    /// HTTP/2 follows; its stream 1 has the answer to the request that asked for it.
    fn upgrade(&mut self) {
        let mut upgrading = None;
        while let Some((request, answer)) = self.pairs.take_pair() {
            match answer.switches() {
                true => upgrading = Some(request.into_upgraded()),
                false => self.finished.push(columns::exchange(request, answer)),
            }
        }
        match upgrading {
            Some(request) => {
                self.upgraded = Some(http2::upgraded(self.role, &self.settings, request));
                self.is_switching = true;
            }
            // Whose answer it is was not certain.
            None => self.lengths_only = true,
        }
    }

    /// Something was read, or skipped, of a body.
    fn note_body(&mut self, asks: bool, at: Times) {
        if self.half(asks).message.as_ref().is_some_and(|message| message.body.is_complete()) {
            self.complete(asks, at);
        }
    }

    fn complete(&mut self, asks: bool, at: Times) {
        let half = self.half(asks);
        let bytes = half.bytes;
        let Some(message) = half.message.take() else { return };
        half.begin_message();
        if asks {
            let number = self.open_request;
            // Gone if it was answered, or given up, before.
            if let Some(request) = self.pairs.newest_mut().filter(|request| request.number == number) {
                request.complete(message.body, &message.headers, bytes, at);
            }
        } else {
            match message.origin {
                Origin::GivenUp => {}
                Origin::Asked => {
                    let answer = Answer::new(*message, bytes, at);
                    let size = answer.memory();
                    self.pairs.answer(answer, size, at);
                }
                Origin::Unasked(began) => {
                    let answer = Answer::new(*message, bytes, at);
                    let size = answer.memory();
                    self.pairs.answer_unasked(answer, size, began, at);
                }
            }
        }
    }
}
