//! A row of a table of exchanges: made of an exchange and its connection, or read back from a batch.

use std::net::{IpAddr, SocketAddr};

use trilobite_protocols::{Exchange, Name, Role};
use trilobite_worker_wire::{ProcessImage, RequestRow};

use crate::{
    table::Table,
    upid::Upid,
    value::Value,
    values::{self, is_in_summary, summary, values},
};

/// Bytes that an allocator adds to an allocation, about.
const ALLOCATION: usize = 16;

/// What is known of an exchange beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// The process that called.
    pub process: Upid,
    /// Its leaf cgroup.
    pub cgroup: u64,
    /// Key of the connection.
    pub connection: u64,
    /// The process's end.
    pub local: Option<SocketAddr>,
    /// The other end.
    pub remote: Option<SocketAddr>,
    /// Role of the process.
    pub role: Role,
    /// The connection speaks TLS.
    pub encrypted: bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number in its ring, from 1; 0 before it is in one.
    pub sequence: u64,
    /// Its table.
    pub table: Table,
    /// Process and connection.
    pub facts: ConnectionFacts,
    /// First byte of the request, boot clock.
    pub started: u64,
    /// From the last byte of the request to the last byte of the answer.
    pub latency: u64,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the answer.
    pub response_bytes: u64,
    /// The request failed.
    pub is_error: bool,
    /// The connection was open before it was followed.
    pub mid_stream: bool,
    /// The table's own columns and our extensions of it, in order.
    pub(crate) values: Vec<Value>,
}

impl Row {
    /// The row of an exchange.
    pub fn new(facts: ConnectionFacts, exchange: Exchange) -> Self {
        let latency = exchange.latency();
        let (table, values) = values(exchange.fields);
        Self {
            sequence: 0,
            table,
            facts,
            started: exchange.started,
            latency,
            request_bytes: exchange.request_bytes,
            response_bytes: exchange.response_bytes,
            is_error: exchange.is_error,
            mid_stream: exchange.mid_stream,
            values,
        }
    }

    /// Its protocol.
    pub fn protocol(&self) -> Name {
        values::protocol(self.table, &self.values)
    }

    /// When the answer ended, about: the time between the request's first and last byte is not in a row.
    pub(crate) fn ended(&self) -> u64 {
        self.started.saturating_add(self.latency)
    }

    /// Bytes that it takes.
    pub(crate) fn memory(&self) -> usize {
        let texts = self.values.iter().filter_map(Value::text).map(|text| text.len() + ALLOCATION).sum::<usize>();
        size_of::<Self>() + ALLOCATION + self.values.capacity() * size_of::<Value>() + texts
    }

    /// The row as a reader gets it.
    pub(crate) fn into_request_row(self) -> RequestRow {
        let Self { table, facts, values, .. } = self;
        let protocol = values::protocol(table, &values);
        let shown = summary(table, &values, self.is_error);
        let (status, operation, target) = (shown.status, shown.operation.to_owned(), shown.target.to_owned());
        let schema = table.schema();
        let columns = schema.own.iter().chain(schema.extensions).zip(values);
        let columns = columns.filter(|(column, _)| !is_in_summary(table, column.name));
        RequestRow {
            sequence: self.sequence,
            time_ns: self.started,
            protocol: protocol.to_string(),
            table: schema.name.to_owned(),
            client: facts.role == Role::Client,
            cgroup: facts.cgroup,
            exec: ProcessImage { pid: facts.process.pid, ktime: facts.process.start },
            connection: facts.connection,
            local: facts.local,
            remote: facts.remote,
            encrypted: facts.encrypted,
            latency_ns: self.latency,
            is_error: self.is_error,
            status,
            operation,
            target,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            mid_stream: self.mid_stream,
            columns: columns
                .filter_map(|(column, value)| {
                    Some((column.name.to_owned(), values::shown(table, protocol, column.name, value)?))
                })
                .collect(),
        }
    }
}

/// Pixie's text of an address; `-` where none is known.
pub(crate) fn address_text(end: Option<SocketAddr>) -> String {
    end.map_or_else(|| "-".to_owned(), |end| end.ip().to_string())
}

/// The number of a port; -1 where none is known.
pub(crate) fn port_number(end: Option<SocketAddr>) -> i64 {
    end.map_or(-1, |end| end.port().into())
}

/// From the text and the number of two columns.
pub(crate) fn endpoint(address: &str, port: i64) -> Option<SocketAddr> {
    Some((address.parse::<IpAddr>().ok()?, u16::try_from(port).ok()?).into())
}

/// Pixie's number of a role.
pub(crate) fn role_number(role: Role) -> i64 {
    match role {
        Role::Client => 1,
        Role::Server => 2,
    }
}
