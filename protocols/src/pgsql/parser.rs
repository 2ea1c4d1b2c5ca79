//! `PgsqlParser`: the state of one connection. Messages of the client become groups, those of the server answers; a group
//! and its answers end at Sync and ReadyForQuery and are paired in order.

use std::sync::Arc;

use super::exchanges::{PORTAL_SUSPENDED, exchange, exchanges};
use super::group::{Answer, Answers, Group, Outcome, Request, RequestKind, RequestSpan, STEPS_MAX, executes};
use super::mask::mask;
use super::message::{Cut, ENCRYPTION, Message, MessageCutter, STARTUP};
use super::server_error::ServerError;
use super::signs::{CANCEL_REQUEST, GSS_REQUEST, SSL_REQUEST};
use super::statements::{Statements, UNKNOWN_STATEMENT};
use super::wire::{Sender, be32, text_of};
use crate::exchange::{ExchangeQueue, TRUNCATED};
use crate::pair::InOrder;
use crate::redact::{self, SqlDialect};
use crate::{Exchange, Parser, Role, Settings, Side, Step, Times, Transport};

/// Bytes of a group that is not closed by Sync yet; beyond it its messages are dropped.
const OPEN_BYTES_MAX: usize = 768 << 10;

pub(super) struct PgsqlParser {
    role: Role,
    transport: Transport,
    keep_literals: bool,
    client: MessageCutter,
    server: MessageCutter,
    statements: Statements,
    /// Messages of the extended protocol since the last Sync.
    open: Vec<Request>,
    open_size: usize,
    /// Messages of the statement that is being asked.
    asked: RequestSpan,
    /// Bytes of COPY data since the last statement.
    copied: u64,
    /// The group that was asked last is an extended one.
    last_is_extended: bool,
    /// The server ignored a Sync during COPY: another follows.
    expects_sync: bool,
    answers: Answers,
    order: InOrder<Group, Answers>,
    finished: ExchangeQueue,
    encrypted: bool,
    replicates: bool,
    /// Times of the bytes that are being parsed.
    now: Times,
    fitted: bool,
    lost: u64,
}

impl PgsqlParser {
    pub(super) fn new(role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Self {
        Self {
            role,
            transport,
            keep_literals: settings.keep_literals,
            client: MessageCutter::new(Sender::Client, mid_stream),
            server: MessageCutter::new(Sender::Server, mid_stream),
            statements: Statements::default(),
            open: Vec::new(),
            open_size: 0,
            asked: RequestSpan::default(),
            copied: 0,
            last_is_extended: false,
            expects_sync: false,
            answers: Answers::default(),
            order: InOrder::new(mid_stream),
            finished: ExchangeQueue::default(),
            encrypted: false,
            replicates: false,
            now: Times::default(),
            fitted: false,
            lost: 0,
        }
    }

    fn asks(&mut self, message: Message) {
        let Message { kind, length, at, .. } = message;
        match kind {
            STARTUP => self.starts(&message),
            b'Q' => {
                // Messages without a Sync before it are answered with it.
                self.take_open();
                let text = self.shown(text_of(&message.body).0, message.cut);
                self.ask(Group::Query(RequestSpan::of_message(length, at), text));
            }
            b'F' => self.ask(Group::Function),
            b'P' | b'B' | b'D' | b'E' | b'C' => self.add_request(&message),
            b'S' => self.close_group(),
            b'd' => self.copied += length,
            b'c' | b'f' => self.end_copy(length, at),
            // Flush, Terminate, passwords.
            _ => {}
        }
    }

    fn starts(&mut self, message: &Message) {
        let asked = RequestSpan::of_message(message.length, message.at);
        match be32(&message.body, 0) {
            Some(SSL_REQUEST | GSS_REQUEST) => {
                self.client.expect_startup();
                self.server.expect_encryption_answer();
            }
            // The server closes the connection without an answer.
            Some(CANCEL_REQUEST) => {
                self.fitted = true;
                let outcome = Outcome { ended: asked.asked, ..Outcome::default() };
                self.finished.push(exchange("Cancel", "", asked, &outcome));
            }
            _ => self.ask(Group::Startup(asked)),
        }
    }

    fn add_request(&mut self, message: &Message) {
        let (first, rest) = text_of(&message.body);
        let first = String::from_utf8_lossy(first);
        let is_statement = first.starts_with('S');
        // The beginning of a name may be another's name.
        let is_whole = |bytes: &[u8]| !message.cut || bytes.contains(&0);
        self.asked.add(message.length, message.at);
        let (kind, text) = match message.kind {
            b'P' => {
                let text = self.shown(text_of(rest).0, !is_whole(rest));
                if is_whole(&message.body) {
                    self.statements.prepare(&first, text.clone());
                } else {
                    self.statements.lose_unnamed();
                }
                (RequestKind::Parse(first.clone().into_owned()), text)
            }
            b'B' if !is_whole(&message.body) => {
                self.statements.lose_portals();
                (RequestKind::Bind, UNKNOWN_STATEMENT.into())
            }
            b'B' if !is_whole(rest) => (RequestKind::Bind, self.statements.bind_unknown(&first)),
            b'B' => {
                let statement = String::from_utf8_lossy(text_of(rest).0);
                (RequestKind::Bind, self.statements.bind(&first, &statement))
            }
            b'E' if !is_whole(&message.body) => (RequestKind::Execute, UNKNOWN_STATEMENT.into()),
            b'E' => (RequestKind::Execute, self.statements.portal(&first)),
            // The first byte says whether a statement or a portal is meant.
            b'D' if is_statement => (RequestKind::DescribeStatement, "".into()),
            b'D' => (RequestKind::DescribePortal, "".into()),
            _ => {
                let name = first.get(1..).unwrap_or_default();
                if is_statement {
                    self.statements.forget(name);
                } else {
                    self.statements.close_portal(name);
                }
                (RequestKind::Close, "".into())
            }
        };
        let is_execute = kind == RequestKind::Execute;
        let request = Request { kind, text, asked: self.asked };
        if is_execute {
            self.asked = RequestSpan::default();
            self.copied = 0;
        }
        if self.open.len() < STEPS_MAX && self.open_size + request.size() <= OPEN_BYTES_MAX {
            self.open_size += request.size();
            self.open.push(request);
        } else {
            self.lost += u64::from(is_execute);
        }
    }

    fn close_group(&mut self) {
        let requests = self.take_open();
        if std::mem::take(&mut self.expects_sync) && requests.is_empty() {
            return;
        }
        self.ask(Group::Extended(requests));
    }

    /// Messages since the last Sync; none are open afterwards.
    fn take_open(&mut self) -> Vec<Request> {
        self.open_size = 0;
        self.asked = RequestSpan::default();
        std::mem::take(&mut self.open)
    }

    fn end_copy(&mut self, length: u64, at: Times) {
        let bytes = std::mem::take(&mut self.copied) + length;
        if let Some(request) = self.open.last_mut() {
            request.asked.bytes += bytes;
            request.asked.asked = at.last;
            return;
        }
        if let Some(group) = self.order.front_mut() {
            group.add_copied(bytes, at.last);
        }
        self.expects_sync = self.last_is_extended;
    }

    fn ask(&mut self, group: Group) {
        self.last_is_extended = matches!(group, Group::Extended(_));
        self.expects_sync = false;
        let at = Times { first: group.started().min(self.now.last), last: self.now.last };
        let size = group.size();
        self.order.ask(group, size, at);
        self.pair();
    }

    fn answers(&mut self, message: Message) {
        let Message { kind, length, at, .. } = message;
        if self.answers.began == 0 {
            self.answers.began = at.first;
        }
        // Notices, notifications and parameter changes belong to no statement.
        if !matches!(kind, b'N' | b'A' | b'S' | b'Z') {
            self.answers.add_bytes(length);
        }
        match kind {
            ENCRYPTION => {
                self.answers = Answers::default();
                self.encrypted = matches!(message.body.first(), Some(b'S' | b'G'));
            }
            b'Z' => self.end_group(at),
            b'E' => self.fail(&message),
            b'C' => {
                let mut tag = String::from_utf8_lossy(text_of(&message.body).0).into_owned();
                if message.cut {
                    tag.push_str(TRUNCATED);
                }
                self.answers.push_outcome(tag, None, at.last);
            }
            b'I' => self.answers.push_outcome(String::new(), None, at.last),
            b's' => self.answers.push_outcome(PORTAL_SUSPENDED.to_owned(), None, at.last),
            b'D' => self.answers.add_row(),
            b'1' => self.answers.push(Answer::ParseComplete),
            b'2' => self.answers.push(Answer::BindComplete),
            b'3' => self.answers.push(Answer::CloseComplete),
            b't' => self.answers.push(Answer::ParameterDescription),
            b'T' | b'n' => self.answers.push(Answer::Description),
            b'R' => self.answers.push(Answer::Authentication),
            b'G' | b'H' => self.answers.push(Answer::CopyBegins),
            b'V' => self.answers.push(Answer::FunctionResult),
            // COPY in both directions: replication.
            b'W' => self.replicates = true,
            _ => {}
        }
    }

    fn fail(&mut self, message: &Message) {
        let error = ServerError::parse(&message.body);
        let text = error.shown(self.keep_literals);
        self.answers.push_outcome(text, Some(error.code.to_owned()), message.at.last);
    }

    fn end_group(&mut self, at: Times) {
        let answers = std::mem::take(&mut self.answers);
        let size = answers.size();
        self.order.answer(answers, size, at);
        self.pair();
    }

    fn pair(&mut self) {
        while let Some((group, answers)) = self.order.take_pair() {
            match exchanges(&group, &answers, &mut self.statements) {
                Some(exchanges) => {
                    self.fitted = true;
                    exchanges.into_iter().for_each(|exchange| self.finished.push(exchange));
                }
                // These were another group's answers: nothing is certain until the next turn.
                None => {
                    self.lost += group.statements();
                    self.order.answers_lost();
                }
            }
        }
    }

    fn shown(&self, text: &[u8], cut: bool) -> Arc<str> {
        let text = String::from_utf8_lossy(text);
        let mut text = if self.keep_literals { text.into_owned() } else { redact::sql(&text, SqlDialect::Postgres) };
        if cut {
            text.push_str(TRUNCATED);
        }
        text.into()
    }

    fn lose(&mut self, sender: Sender) {
        match sender {
            Sender::Client => {
                self.lost += executes(&self.take_open());
                self.copied = 0;
                self.expects_sync = false;
                self.statements.lose_unnamed();
                self.order.requests_lost();
            }
            Sender::Server => {
                self.answers = Answers::default();
                self.order.answers_lost();
            }
        }
    }

    fn sender(&self, side: Side) -> Sender {
        if side.asks(self.role) { Sender::Client } else { Sender::Server }
    }

    fn cutter(&mut self, sender: Sender) -> &mut MessageCutter {
        match sender {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        }
    }

    fn receive(&mut self, sender: Sender, message: Message) {
        match sender {
            Sender::Client => self.asks(message),
            Sender::Server => self.answers(message),
        }
    }
}

impl Parser for PgsqlParser {
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        if self.encrypted || self.transport == Transport::Datagram {
            return Step::NotMine;
        }
        let sender = self.sender(side);
        self.now = at;
        match self.cutter(sender).cut(bytes, at) {
            Cut::Part(bytes) => Step::Message { bytes },
            Cut::Message(bytes, message) => {
                self.receive(sender, message);
                Step::Message { bytes }
            }
            Cut::NeedMore => Step::NeedMore,
            Cut::Skip(bytes) => Step::Skip { bytes },
            Cut::Broken if self.fitted => {
                self.lose(sender);
                Step::Skip { bytes: 1 }
            }
            Cut::Broken => Step::NotMine,
        }
    }

    fn gap(&mut self, side: Side, bytes: u64, at: Times) {
        let sender = self.sender(side);
        self.now = at;
        let (message, in_step) = self.cutter(sender).gap(bytes, at);
        if let Some(message) = message {
            self.receive(sender, message);
        }
        if !in_step {
            self.lose(sender);
        }
    }

    fn finish(&mut self, at: Times) {
        self.now = at;
        // The server's last message may be an error without ReadyForQuery behind it.
        let asked_before = self.order.front().is_some_and(|group| group.started() <= self.answers.began);
        if asked_before && self.answers.has_error() {
            self.end_group(at);
        }
        self.lost += executes(&self.take_open());
        self.order.finish();
    }

    fn take_exchange(&mut self) -> Option<Exchange> {
        self.finished.pop()
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + self.client.memory()
            + self.server.memory()
            + self.statements.memory()
            + self.open_size
            + self.answers.size()
            + self.order.memory()
            + self.finished.memory()
    }

    fn confirmed(&self) -> bool {
        self.fitted
    }

    fn lost(&self) -> u64 {
        self.lost + self.order.lost()
    }

    fn mask(&self, side: Side, taken: &mut [u8]) {
        let sender = self.sender(side);
        let cutter = match sender {
            Sender::Client => &self.client,
            Sender::Server => &self.server,
        };
        mask(cutter.taken, sender, self.keep_literals, taken);
    }

    fn lengths_only(&self) -> bool {
        self.replicates
    }
}
