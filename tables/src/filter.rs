//! Which rows a reader wants, as a filter over columns.

use std::collections::HashSet;

use trilobite_protocols::Name;
use trilobite_worker_wire::RowQuery;

use crate::{row::Row, table::Table};

/// A query, prepared to be asked of many rows.
pub struct RowFilter {
    since: u64,
    until: u64,
    cgroups: Option<HashSet<u64>>,
    wanted: Requested,
    slower_than: u64,
    errors: bool,
    pub(crate) limit: usize,
    pub(crate) after: u64,
}

enum Requested {
    All,
    /// Rows of HTTP have several protocols.
    Table(Table),
    Protocol(Name),
    /// The query names what no row is of.
    Nothing,
}

impl Requested {
    fn of_word(word: &str) -> Self {
        let table = Table::ALL.into_iter().find(|table| table.schema().name == word).map(Self::Table);
        let protocol = || word.parse().ok().map(Self::Protocol);
        table.or_else(protocol).unwrap_or(Self::Nothing)
    }
}

/// What the filter looks at in a row.
pub(crate) struct Facts {
    pub(crate) started: u64,
    pub(crate) latency: u64,
    pub(crate) cgroup: u64,
    pub(crate) is_error: bool,
    pub(crate) protocol: Name,
}

impl RowFilter {
    /// The filter of a query.
    pub fn new(query: &RowQuery) -> Self {
        Self {
            since: query.since_ns,
            until: if query.until_ns == 0 { u64::MAX } else { query.until_ns },
            cgroups: query.cgroups.as_ref().map(|cgroups| cgroups.iter().copied().collect()),
            wanted: query.protocol.as_deref().map_or(Requested::All, Requested::of_word),
            slower_than: query.slower_than_ns,
            errors: query.errors,
            limit: usize::try_from(query.limit).unwrap_or(usize::MAX),
            after: query.after_sequence,
        }
    }

    /// Some rows of this table may be wanted.
    pub(crate) fn wants_table(&self, table: Table) -> bool {
        match self.wanted {
            Requested::All => true,
            Requested::Table(wanted) => wanted == table,
            Requested::Protocol(name) => Table::of_protocol(name) == Some(table),
            Requested::Nothing => false,
        }
    }

    /// Whether a row with these facts is wanted.
    pub(crate) fn matches(&self, facts: &Facts) -> bool {
        (self.since..self.until).contains(&facts.started)
            && facts.latency >= self.slower_than
            && (facts.is_error || !self.errors)
            && !matches!(self.wanted, Requested::Protocol(name) if name != facts.protocol)
            && self.cgroups.as_ref().is_none_or(|cgroups| cgroups.contains(&facts.cgroup))
    }

    pub(crate) fn matches_row(&self, row: &Row) -> bool {
        self.wants_table(row.table)
            && self.matches(&Facts {
                started: row.started,
                latency: row.latency,
                cgroup: row.facts.cgroup,
                is_error: row.is_error,
                protocol: row.protocol(),
            })
    }
}

#[cfg(test)]
mod tests {
    use trilobite_protocols::{Exchange, Fields, HttpFields, Role};

    use super::*;
    use crate::{ConnectionFacts, RowRing, Upid};

    fn row(major: u8, grpc_status: Option<&str>) -> Row {
        let facts = ConnectionFacts {
            process: Upid { asid: 0, pid: 4321, start: 77 },
            cgroup: 7,
            connection: 9,
            local: None,
            remote: None,
            role: Role::Server,
            encrypted: false,
        };
        let http = HttpFields { major, grpc_status: grpc_status.map(str::to_owned), ..HttpFields::default() };
        let (fields, is_error) = (Fields::Http(http), false);
        let (request_bytes, response_bytes, mid_stream) = (1, 1, false);
        let exchange =
            Exchange { started: 1, asked: 1, ended: 1, request_bytes, response_bytes, is_error, mid_stream, fields };
        Row::new(facts, exchange)
    }

    /// In open rows and in sealed ones.
    #[test]
    fn words_select_protocols_and_names_tables() {
        for rounds in [1, 1_000] {
            let mut ring = RowRing::new(u64::MAX);
            for _ in 0..rounds {
                [row(1, None), row(2, None), row(2, Some("OK"))].into_iter().for_each(|row| ring.push(row));
            }
            for (word, expected) in [
                ("http", vec!["http"]),
                ("http2", vec!["http2"]),
                ("grpc", vec!["grpc"]),
                ("http_events", vec!["http", "http2", "grpc"]),
                ("redis", vec![]),
                ("mqtt", vec![]),
            ] {
                let filter = RowFilter::new(&RowQuery { protocol: Some(word.into()), ..RowQuery::default() });
                let rows = ring.scan(&filter, 0..4).rows;
                let found: Vec<&str> = rows.iter().map(|row| row.protocol.as_str()).collect();
                assert_eq!(found, expected, "{word}");
            }
        }
    }
}
