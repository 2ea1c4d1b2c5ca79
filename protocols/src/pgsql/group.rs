//! `Group`: what a client sends up to the point where the server answers ReadyForQuery; `Answers`: what the server answers
//! up to it.

use std::sync::Arc;

use crate::Times;

/// Messages of a group beyond which it is given up.
pub(super) const STEPS_MAX: usize = 16_384;

/// When a statement was asked, and the bytes of its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestSpan {
    pub(super) started: u64,
    pub(super) asked: u64,
    pub(super) bytes: u64,
}

impl RequestSpan {
    pub(super) fn of_message(length: u64, at: Times) -> Self {
        Self { started: at.first, asked: at.last, bytes: length }
    }

    /// Adds a message of the same statement.
    pub(super) fn add(&mut self, length: u64, at: Times) {
        if self.bytes == 0 {
            self.started = at.first;
        }
        self.bytes += length;
        self.asked = at.last;
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Group {
    /// Startup and authentication.
    Startup(RequestSpan),
    /// A simple query, of one or more statements.
    Query(RequestSpan, Arc<str>),
    /// Messages of the extended protocol up to Sync.
    Extended(Vec<Request>),
    /// A function call of the old protocol; it makes no exchange.
    Function,
}

/// A message of the extended protocol that the server answers. Text and times of its statement.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) kind: RequestKind,
    pub(super) text: Arc<str>,
    pub(super) asked: RequestSpan,
}

impl Request {
    pub(super) fn size(&self) -> usize {
        let text = match &self.kind {
            RequestKind::Parse(name) => name.len() + self.text.len(),
            _ => 0,
        };
        size_of::<Self>() + text
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Parse(String),
    Bind,
    DescribeStatement,
    DescribePortal,
    Execute,
    Close,
}

impl Group {
    /// What it holds on the heap. The text of a prepared statement is counted where it was prepared.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Startup(_) | Self::Function => 0,
            Self::Query(_, text) => text.len(),
            Self::Extended(requests) => requests.iter().map(Request::size).sum(),
        }
    }

    /// When its first message was seen, as far as that is noted.
    pub(super) fn started(&self) -> u64 {
        match self {
            Self::Startup(asked) | Self::Query(asked, _) => asked.started,
            Self::Extended(requests) => requests.first().map_or(u64::MAX, |request| request.asked.started),
            Self::Function => u64::MAX,
        }
    }

    /// Statements of it that make an exchange.
    pub(super) fn statements(&self) -> u64 {
        match self {
            Self::Startup(_) | Self::Function => 0,
            Self::Query(..) => 1,
            Self::Extended(requests) => executes(requests),
        }
    }

    /// The client has sent all data of its COPY, which is a part of its request.
    pub(super) fn add_copied(&mut self, bytes: u64, last: u64) {
        let asked = match self {
            Self::Query(asked, _) => asked,
            Self::Extended(requests) => {
                let executed = requests.iter_mut().rev().find(|request| request.kind == RequestKind::Execute);
                let Some(request) = executed else { return };
                &mut request.asked
            }
            Self::Startup(_) | Self::Function => return,
        };
        asked.bytes += bytes;
        asked.asked = last;
    }
}

/// Statements that these messages execute.
pub(super) fn executes(requests: &[Request]) -> u64 {
    requests.iter().filter(|request| request.kind == RequestKind::Execute).count() as u64
}

/// A message of the server that answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Authentication,
    ParseComplete,
    BindComplete,
    CloseComplete,
    ParameterDescription,
    /// A description of rows, or that there are none.
    Description,
    CopyBegins,
    FunctionResult,
    /// A statement has ended.
    Ended(Outcome),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Command tag; empty for an empty statement; text of the error.
    pub(super) text: String,
    /// SQLSTATE of an error.
    pub(super) error: Option<String>,
    pub(super) rows: u64,
    /// Bytes since the outcome before it.
    pub(super) bytes: u64,
    pub(super) ended: u64,
}

/// Answers up to ReadyForQuery.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) answers: Vec<Answer>,
    /// When the first of them was seen; 0: there is none.
    pub(super) began: u64,
    /// Rows and bytes since the last outcome.
    rows: u64,
    bytes: u64,
    /// Bytes of the outcomes' texts.
    texts: usize,
    /// There were too many to keep.
    pub(super) overflown: bool,
}

impl Answers {
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(super) fn add_row(&mut self) {
        self.rows += 1;
    }

    pub(super) fn push(&mut self, answer: Answer) {
        if self.answers.len() < STEPS_MAX {
            self.answers.push(answer);
        } else {
            self.overflown = true;
        }
    }

    /// A statement has ended with this tag or error.
    pub(super) fn push_outcome(&mut self, text: String, error: Option<String>, ended: u64) {
        let rows = if error.is_some() { 0 } else { rows_of(&text).unwrap_or(self.rows) };
        let bytes = std::mem::take(&mut self.bytes);
        self.rows = 0;
        self.texts += text.len() + error.as_ref().map_or(0, String::len);
        self.push(Answer::Ended(Outcome { text, error, rows, bytes, ended }));
    }

    pub(super) fn has_error(&self) -> bool {
        self.answers.iter().any(|answer| matches!(answer, Answer::Ended(outcome) if outcome.error.is_some()))
    }

    pub(super) fn size(&self) -> usize {
        self.answers.capacity() * size_of::<Answer>() + self.texts
    }
}

/// The number of rows in a command tag: `SELECT 5`, `INSERT 0 3`.
fn rows_of(tag: &str) -> Option<u64> {
    tag.rsplit(' ').next()?.parse().ok()
}
