//! One direction of a connection: where it stands, and the message that is being read.

use super::body::Body;
use super::head::{Headers, LineSearch, request_line, status_line};
use crate::limits::TEXT_MAX;
use crate::{Times, redact};

/// One direction.
pub(super) struct Half {
    pub(super) state: State,
    pub(super) line_search: LineSearch,
    /// The connection was joined, and no message of this side was seen yet.
    pub(super) never_in_step: bool,
    /// Its present message may be a part of a body: it is the first one after a loss, or after a body that was doubtful.
    pub(super) resumed: bool,
    /// The line is longer than what is kept of one: its rest is dropped.
    pub(super) in_long_line: bool,
    pub(super) message: Option<Box<Message>>,
    /// Bytes of the message.
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    StartLine,
    Headers,
    Body,
    /// After a loss: until a line that is a start line.
    Searching,
}

/// A message whose head, or body, is being read.
pub(super) struct Message {
    pub(super) started: u64,
    pub(super) start: Start,
    pub(super) headers: Headers,
    pub(super) body: Body,
    /// Whether a request waited when the answer's head came.
    pub(super) origin: Origin,
    /// It is not certain to which request this is the answer: if it is HEAD, the body is absent and the answer has ended.
    pub(super) may_lack_body: Option<Times>,
}

pub(super) enum Origin {
    Asked,
    /// Its request may still be recorded; when the answer began.
    Unasked(u64),
    /// Its request was not seen.
    GivenUp,
}

impl Message {
    pub(super) fn memory(&self) -> usize {
        let start = match &self.start {
            Start::Request { method, target, .. } => method.capacity() + target.capacity(),
            Start::Status { reason, .. } => reason.capacity(),
        };
        start + self.headers.memory() + self.body.memory()
    }
}

pub(super) enum Start {
    Request { method: String, target: String, minor: u8 },
    Status { status: u16, reason: String },
}

impl Half {
    pub(super) fn new(joined: bool) -> Self {
        Self {
            state: if joined { State::Searching } else { State::StartLine },
            line_search: LineSearch::default(),
            never_in_step: joined,
            resumed: false,
            in_long_line: false,
            message: None,
            bytes: 0,
        }
    }

    pub(super) fn begin_message(&mut self) {
        *self = Self::new(false);
    }

    pub(super) fn search(&mut self) {
        *self = Self { never_in_step: false, ..Self::new(true) };
    }

    pub(super) fn memory(&self) -> usize {
        self.message.as_ref().map_or(0, |message| size_of::<Message>() + message.memory())
    }
}

/// What a start line says, if it is one.
pub(super) fn start(asks: bool, line: &[u8]) -> Option<Start> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..TEXT_MAX).unwrap_or(bytes)).into_owned();
    if asks {
        let line = request_line(line)?;
        Some(Start::Request {
            method: line.method.to_owned(),
            target: redact::query(&text(line.target)).into_owned(),
            minor: line.minor,
        })
    } else {
        let line = status_line(line)?;
        Some(Start::Status { status: line.status, reason: text(line.reason) })
    }
}
