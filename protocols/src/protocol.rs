//! What a protocol implements: `Protocol` recognises first bytes and makes a `Parser`, the state of one connection.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Exchange;

/// A supported protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// HTTP/1.0 and 1.1.
    Http,
    /// PostgreSQL's protocol 3.
    Pgsql,
    /// Redis: RESP2 and RESP3.
    Redis,
    /// DNS over UDP and TCP.
    Dns,
    /// HTTP/2.
    Http2,
    /// gRPC, on HTTP/2.
    Grpc,
    /// MySQL and MariaDB.
    Mysql,
    /// Kafka.
    Kafka,
}

impl Name {
    /// Every supported protocol.
    pub const ALL: [Self; 8] =
        [Self::Http, Self::Pgsql, Self::Redis, Self::Dns, Self::Http2, Self::Grpc, Self::Mysql, Self::Kafka];

    /// The word of AppProfiles and of columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Pgsql => "pgsql",
            Self::Redis => "redis",
            Self::Dns => "dns",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Mysql => "mysql",
            Self::Kafka => "kafka",
        }
    }

    /// Number of the protocol in Pixie's enum of traffic protocols (the column `protocol` of conn_stats).
    pub fn number(self) -> i64 {
        match self {
            Self::Http => 1,
            Self::Http2 | Self::Grpc => 2,
            Self::Mysql => 3,
            Self::Kafka => 10,
            Self::Pgsql => 5,
            Self::Dns => 6,
            Self::Redis => 7,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no supported protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a supported protocol; supported are http, pgsql, redis, dns, http2, grpc, mysql, kafka")]
pub struct UnknownName(String);

impl FromStr for Name {
    type Err = UnknownName;

    fn from_str(word: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|name| name.as_str() == word).ok_or_else(|| UnknownName(word.to_owned()))
    }
}

/// A direction of a connection, as the process saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The process sent these bytes.
    Sent,
    /// The process received these bytes.
    Received,
}

impl Side {
    /// The other direction.
    pub fn other(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }

    /// Whether a process with this role sends its requests (client) or receives them (server) on this side.
    pub fn asks(self, role: Role) -> bool {
        matches!((self, role), (Self::Sent, Role::Client) | (Self::Received, Role::Server))
    }
}

/// What the process is on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It asks.
    Client,
    /// It answers.
    Server,
}

impl Role {
    /// The role of the connection's other end.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// The role of a process on whose `side` requests travel.
    pub fn of_asking(side: Side) -> Self {
        match side {
            Side::Sent => Self::Client,
            Side::Received => Self::Server,
        }
    }

    /// The role of a process on whose `side` answers travel.
    pub fn of_answering(side: Side) -> Self {
        Self::of_asking(side).other()
    }
}

/// How the bytes of a connection are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One sequence of bytes a side (TCP, unix stream).
    Stream,
    /// Each push is one datagram (UDP).
    Datagram,
}

/// What a protocol says of the first bytes of a side; the role is that of the process whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// These bytes are not of this protocol.
    No,
    /// They may be: there are too few, or other protocols look alike.
    Maybe(Role),
    /// No other supported protocol begins so.
    Sure(Role),
}

/// What a parser did with the bytes that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first `bytes` are understood (a message or a part of one). At least one.
    Message {
        /// Bytes to consume.
        bytes: usize,
    },
    /// The bytes are the beginning of a message; nothing is consumed.
    NeedMore,
    /// Resynchronised: the first `bytes` were not understood and are counted. At least one.
    Skip {
        /// Bytes to drop.
        bytes: usize,
    },
    /// The connection does not speak this protocol.
    NotMine,
}

/// What an AppProfile asks of the parsers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes kept of a body; 0: none.
    pub payload_bytes: usize,
    /// Whether literals of statements and values of commands are kept.
    pub keep_literals: bool,
    /// Further headers whose values are redacted, without regard to case.
    pub redact_headers: Arc<[String]>,
    /// Whether `Connection::take_masked` is asked for copies of what was parsed.
    pub masks: bool,
}

/// Boot clock, in nanoseconds, of the first and the last byte of the bytes that a parser is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// When the first byte was seen.
    pub first: u64,
    /// When the last byte was seen.
    pub last: u64,
}

/// A protocol. Adding one: a file with its `Protocol` and `Parser`, a variant of `Name` and of `Fields`, a line in `all`.
pub trait Protocol: Send + Sync {
    /// Its name.
    fn name(&self) -> Name;

    /// Whether the first bytes of a side may be of this protocol.
    fn infer(&self, first: &[u8], side: Side) -> Guess;

    /// A parser for one connection of a process with this role.
    fn connection(&self, role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Box<dyn Parser>;
}

/// The state of one connection in one protocol.
pub trait Parser: Send {
    /// Parses the next bytes of a side. The caller keeps what is not consumed and gives it again with more behind it; `at`
    /// says when the first and the last byte of `bytes` were seen. With `Transport::Datagram` `bytes` is one datagram.
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step;

    /// The next `bytes` of this side are missing, counted from the first one that was not consumed: what waited for the rest
    /// of its message is missing too. The parser stays in step where it can, e.g. inside a body of known length; else it looks
    /// for the next message that it knows. They were sent between `at.first` (when the byte before them was seen) and
    /// `at.last`; the two are equal where the call that sent them is known.
    fn gap(&mut self, side: Side, bytes: u64, at: Times);

    /// The connection has ended: a body until the end of the connection is complete, a request without answer is lost.
    fn finish(&mut self, at: Times);

    /// The next finished exchange.
    fn take_exchange(&mut self) -> Option<Exchange>;

    /// Bytes of state, for the budget.
    fn memory(&self) -> usize;

    /// An answer has fitted a request: the connection speaks this protocol.
    fn confirmed(&self) -> bool;

    /// Messages that were given up: unanswered, answers without a request, not understood.
    fn lost(&self) -> u64;

    /// Overwrites, in the bytes that `parse` has just understood on this side, everything that no exchange shows. What frames
    /// messages stays, and so does the number of bytes.
    fn mask(&self, side: Side, taken: &mut [u8]);

    /// Whether one call of the process may have several messages: more of it than its beginning is needed then.
    fn has_many_in_a_call(&self) -> bool {
        true
    }

    /// From here on only lengths are of interest, e.g. after an upgrade to another protocol.
    fn lengths_only(&self) -> bool {
        false
    }

    /// What the connection speaks after `Step::NotMine`, where the parser knows it.
    fn foreign(&self) -> Option<&'static str> {
        None
    }
}
