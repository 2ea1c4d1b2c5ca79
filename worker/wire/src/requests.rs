//! What agent and worker say about requests: what to decode, which connections are wanted, the rows that a reader asks for.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{names::sanitize_name, process_image::ProcessImage};

/// Verdicts in one message.
pub const VERDICTS_MAX: usize = 700;
/// Cgroups in one query.
pub const CGROUPS_MAX: usize = 2000;
/// Entries in each map of counts.
const COUNTED_NAMES_MAX: usize = 16;

/// What a worker makes rows of, and how long it keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSettings {
    /// Words of the wanted protocols; empty: every supported one.
    pub protocols: Vec<String>,
    /// Requests that the pods send are wanted.
    pub client: bool,
    /// Requests that the pods answer are wanted.
    pub server: bool,
    /// Only requests with at least this latency become rows.
    pub slower_than_ns: u64,
    /// Only requests that failed become rows.
    pub only_errors: bool,
    /// Bytes kept of a body; 0: none.
    pub payload_bytes: u32,
    /// Literals of statements and values of commands are kept.
    pub keep_literals: bool,
    /// Headers whose values are redacted, beside those that always are.
    pub redact_headers: Vec<String>,
    /// Age at which rows leave.
    pub retain_ns: u64,
}

/// What the kernel program is to copy of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VerdictKind {
    /// The first bytes of each call.
    Parse {
        /// Of a call that sends, at most.
        sent: u32,
        /// Of a call that receives, at most.
        received: u32,
    },
    /// The lengths of calls, without bytes.
    Lengths,
    /// Nothing.
    Ignore,
}

/// The worker's decision about a stream: a socket, or an object of a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamVerdict {
    /// Number of the stream.
    pub stream: u64,
    /// What to copy.
    pub kind: VerdictKind,
}

/// Connections, rows and losses since the worker's start, unless another time is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestCounts {
    /// Connections that were followed.
    pub connections: u64,
    /// Connections among `connections` that were open before they were followed.
    pub mid_stream: u64,
    /// Rows made, by protocol.
    pub rows: BTreeMap<String, u64>,
    /// Bytes of the followed calls, copied or not.
    pub bytes: u64,
    /// Places where bytes are missing.
    pub gaps: u64,
    /// Bytes that are missing there.
    pub gap_bytes: u64,
    /// Connections given up because the memory budget was used up: what was in flight on them is missing.
    pub lost_budget: u64,
    /// Messages that were not understood or not answered, and parsers that failed.
    pub lost_parse: u64,
    /// Records dropped because their cgroup turned out not to be selected.
    pub others: u64,
    /// Records dropped because the pod of their cgroup did not become known.
    pub undecided: u64,
    /// Records that could not be decoded.
    pub malformed: u64,
    /// Connections whose role is not asked for.
    pub other_role: u64,
    /// Memory in use now.
    pub memory_bytes: u64,
    /// Time of the oldest row that is kept now, boot clock; 0: there are no rows.
    pub oldest_row_ns: u64,
    /// Rows that left early because the memory budget was used up.
    pub evicted: u64,
    /// Connections that speak a protocol which is not asked for or not supported, by its name.
    pub other_protocols: BTreeMap<String, u64>,
    /// Connections that speak TLS and are not decrypted.
    pub encrypted: u64,
}

/// Which rows a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowQuery {
    /// Requests that began at this time of the boot clock or later.
    pub since_ns: u64,
    /// Requests that began before this time of the boot clock; 0: no end.
    pub until_ns: u64,
    /// Leaf cgroups of the wanted containers, at most `CGROUPS_MAX`; none: all.
    pub cgroups: Option<Vec<u64>>,
    /// Word of a protocol, or name of a table, whose rows may have several; none: all.
    pub protocol: Option<String>,
    /// Only rows with at least this latency.
    pub slower_than_ns: u64,
    /// Only requests that failed.
    pub errors: bool,
    /// The newest so many of the rows that exist; 0: all of them.
    pub limit: u32,
    /// Rows that are made later are wanted too.
    pub follow: bool,
    /// Only rows with a higher sequence.
    pub after_sequence: u64,
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRow {
    /// Number of the row in its worker, from 1, in the order in which requests ended.
    pub sequence: u64,
    /// First byte of the request, boot clock.
    pub time_ns: u64,
    /// Word of the protocol.
    pub protocol: String,
    /// Name of the table that the row stands in.
    pub table: String,
    /// The process asked; else it answered.
    pub client: bool,
    /// Leaf cgroup of the process.
    pub cgroup: u64,
    /// The process that called. Its pid is that of the initial pid namespace.
    pub exec: ProcessImage,
    /// Key of the connection, as its flow has it; 0: plain text whose socket is not known.
    pub connection: u64,
    /// The process's end of the connection.
    pub local: Option<SocketAddr>,
    /// The other end.
    pub remote: Option<SocketAddr>,
    /// The connection speaks TLS; this is its plain text.
    pub encrypted: bool,
    /// From the last byte of the request to the last byte of the answer.
    pub latency_ns: u64,
    /// The answer says that the request failed.
    pub is_error: bool,
    /// The answer's status, e.g. 404, NXDOMAIN, 23505.
    pub status: String,
    /// What was asked, e.g. GET.
    pub operation: String,
    /// What it was asked about, e.g. a path or a statement.
    pub target: String,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the answer.
    pub response_bytes: u64,
    /// The connection was open before it was followed.
    pub mid_stream: bool,
    /// The other columns of the table, by their names.
    pub columns: Vec<(String, String)>,
}

impl RequestCounts {
    /// The counts as they may be shown: names sanitized, the largest `COUNTED_NAMES_MAX` of each map.
    pub(crate) fn bounded(mut self) -> Self {
        for counts in [&mut self.rows, &mut self.other_protocols] {
            let mut named: Vec<(String, u64)> = std::mem::take(counts).into_iter().collect();
            named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            counts.extend(named.into_iter().take(COUNTED_NAMES_MAX).map(|(name, count)| (sanitize_name(&name), count)));
        }
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(sequence: u64, target: &str) -> RequestRow {
        RequestRow {
            sequence,
            time_ns: 1_000 + sequence,
            protocol: "http".into(),
            table: "http_events".into(),
            client: false,
            cgroup: 77,
            exec: ProcessImage { pid: 10, ktime: 5 },
            connection: 0xc0ffee,
            local: Some(([10, 0, 0, 7], 8080).into()),
            remote: "[fd00::9]:41000".parse().ok(),
            encrypted: true,
            latency_ns: 12_000_000,
            is_error: true,
            status: "503".into(),
            operation: "GET".into(),
            target: target.into(),
            request_bytes: 83,
            response_bytes: 1200,
            mid_stream: true,
            columns: vec![("resp_message".into(), "Service Unavailable".into())],
        }
    }

    #[test]
    fn counts_of_a_hostile_worker_are_bounded() {
        let rows = (0..100).map(|at| (format!("p{at}\n"), at)).collect();
        let counts = RequestCounts { rows, ..RequestCounts::default() }.bounded();
        assert_eq!(counts.rows.len(), COUNTED_NAMES_MAX);
        assert_eq!(counts.rows.get("p99?"), Some(&99));
    }
}
