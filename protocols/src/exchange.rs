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
    /// HTTP/1, HTTP/2 and gRPC.
    Http(HttpFields),
    /// PostgreSQL.
    Pgsql(PgsqlFields),
    /// Redis.
    Redis(RedisFields),
    /// DNS.
    Dns(DnsFields),
    /// MySQL.
    Mysql(MysqlFields),
    /// Kafka.
    Kafka(KafkaFields),
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
    /// Bytes of the request's body, decoded from chunks; none: a part whose length is not known was not seen.
    pub request_body_bytes: Option<u64>,
    /// E.g. 200; none: the request has no answer, or the part of it that says the status was not seen.
    pub status: Option<u16>,
    /// The text behind the status, e.g. OK; the name of a gRPC status; why a stream ended without an answer.
    pub reason: String,
    /// In the order of the wire.
    pub response_headers: Vec<(String, String)>,
    /// Empty unless payloads are kept.
    pub response_body: String,
    /// Bytes of the answer's body, decoded from chunks; none: a part whose length is not known was not seen.
    pub response_body_bytes: Option<u64>,
    /// Of the answer: 0 unknown, 1 JSON, 2 gRPC.
    pub content_type: u8,
    /// Of a gRPC call on HTTP/2: the name of its status, `?` where it was not seen; none: it is no such call.
    pub grpc_status: Option<String>,
    /// Messages of a gRPC call's request; none: not known, or it is no such call.
    pub request_messages: Option<u64>,
    /// Messages of a gRPC call's answer.
    pub response_messages: Option<u64>,
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

/// How a MySQL command was answered, by Pixie's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MysqlStatus {
    /// It has no answer.
    #[default]
    None = 1,
    /// It succeeded.
    Ok = 2,
    /// It failed.
    Error = 3,
}

/// Columns of a MySQL exchange; redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MysqlFields {
    /// Number of the command, e.g. 3 for a query; 11 stands for a login.
    pub command: u8,
    /// The statement, with placeholders for its literals, or the name of a database or table.
    pub text: String,
    /// How it was answered.
    pub status: MysqlStatus,
    /// Results, or the error's text.
    pub response: String,
    /// Number of an error, e.g. 1146; else 0.
    pub error_code: u16,
    /// SQLSTATE of an error, else empty.
    pub sql_state: String,
    /// Rows that were returned or changed.
    pub rows: u64,
}

/// Columns of a Kafka exchange; without keys and values of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaFields {
    /// E.g. 0 for Produce.
    pub api_key: i16,
    /// Version of the request.
    pub api_version: i16,
    /// As the client names itself.
    pub client_id: String,
    /// JSON with Pixie's names; empty where the request is not read.
    pub request: String,
    /// JSON with Pixie's names; empty where the answer is not read.
    pub response: String,
    /// Names of topics, or of the group.
    pub target: String,
    /// A request that wants no acknowledgement has no answer.
    pub is_answered: bool,
    /// The first error in the answer, else 0; none: it says nothing of errors.
    pub error: Option<i16>,
}
