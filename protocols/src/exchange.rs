//! What a parser makes: a request with its answer, in the columns of its protocol's table.

use std::collections::VecDeque;

use crate::limits::IDLE_CAPACITY;

/// Ends a text of a column that was cut.
pub(crate) const TRUNCATED: &str = "... [TRUNCATED]";

/// A request and its answer. Latency is `ended - asked`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// First byte of the request, boot clock in nanoseconds.
    pub started: u64,
    /// Last byte of the request.
    pub asked: u64,
    /// Last byte of the answer.
    pub ended: u64,
    /// Bytes of the request as it was sent, headers included.
    pub request_bytes: u64,
    /// Bytes of the answer as it was sent, headers included.
    pub response_bytes: u64,
    /// The answer says that the request failed.
    pub is_error: bool,
    /// The connection was open before it was followed.
    pub mid_stream: bool,
    /// The columns of its protocol.
    pub fields: Fields,
}

impl Exchange {
    /// Time from the last byte of the request to the last byte of the answer, in nanoseconds.
    pub fn latency(&self) -> u64 {
        self.ended.saturating_sub(self.asked)
    }
}

/// Exchanges that were not taken from their parser yet.
#[derive(Default)]
pub(crate) struct ExchangeQueue(VecDeque<Exchange>);

impl ExchangeQueue {
    pub(crate) fn push(&mut self, exchange: Exchange) {
        self.0.push_back(exchange);
    }

    pub(crate) fn pop(&mut self) -> Option<Exchange> {
        let exchange = self.0.pop_front();
        if self.0.is_empty() {
            self.0.shrink_to(IDLE_CAPACITY);
        }
        exchange
    }

    pub(crate) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Exchange>()
    }
}

/// The columns of an exchange's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fields {
    /// HTTP/1.
    Http(HttpFields),
    /// PostgreSQL.
    Pgsql(PgsqlFields),
    /// Redis.
    Redis(RedisFields),
    /// DNS.
    Dns(DnsFields),
}

/// Columns of an HTTP exchange; redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpFields {
    /// Major version of the request, e.g. 1.
    pub major: u8,
    /// Minor version of the request, e.g. 1.
    pub minor: u8,
    /// E.g. GET.
    pub method: String,
    /// Path and query, with the query's values redacted.
    pub path: String,
    /// In the order of the wire.
    pub request_headers: Vec<(String, String)>,
    /// Empty unless payloads are kept.
    pub request_body: String,
    /// Bytes of the request's body, decoded from chunks.
    pub request_body_bytes: u64,
    /// E.g. 200.
    pub status: u16,
    /// The text behind the status, e.g. OK.
    pub reason: String,
    /// In the order of the wire.
    pub response_headers: Vec<(String, String)>,
    /// Empty unless payloads are kept.
    pub response_body: String,
    /// Bytes of the answer's body, decoded from chunks.
    pub response_body_bytes: u64,
    /// Of the answer: 0 unknown, 1 JSON, 2 gRPC.
    pub content_type: u8,
}

/// Columns of a PostgreSQL exchange; redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PgsqlFields {
    /// Query, Execute, Copy, Cancel, ...
    pub command: String,
    /// The statement, with placeholders for its literals.
    pub statement: String,
    /// Command tag, or the error's text.
    pub response: String,
    /// SQLSTATE of an error, else empty.
    pub error_code: String,
    /// Rows that were returned or changed.
    pub rows: u64,
}

/// Columns of a Redis exchange; redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisFields {
    /// E.g. GET.
    pub command: String,
    /// The command's key; its other arguments only if literals are kept.
    pub arguments: String,
    /// Type of the answer, or the error's text.
    pub response: String,
}

/// Columns of a DNS exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsFields {
    /// Transaction id.
    pub id: u16,
    /// Name of the first question, without the last dot.
    pub name: String,
    /// Type of the first question, e.g. AAAA.
    pub kind: String,
    /// E.g. NOERROR, NXDOMAIN.
    pub rcode: String,
    /// Data of the answers, e.g. 10.0.0.1.
    pub answers: Vec<String>,
    /// JSON as Pixie prints it.
    pub request_header: String,
    /// JSON as Pixie prints it.
    pub request_body: String,
    /// JSON as Pixie prints it.
    pub response_header: String,
    /// JSON as Pixie prints it.
    pub response_body: String,
}
