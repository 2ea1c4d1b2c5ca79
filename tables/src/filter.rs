//! Which rows a reader wants, as a filter over columns.

use std::collections::HashSet;

use trilobite_worker_wire::RowQuery;

use crate::{row::Row, table::Table};

/// A query, prepared to be asked of many rows.
pub struct RowFilter {
    since: u64,
    until: u64,
    cgroups: Option<HashSet<u64>>,
    /// None: every table. `Some(None)`: the query names a protocol that has no table.
    tables: Option<Option<Table>>,
    slower_than: u64,
    errors: bool,
    pub(crate) limit: usize,
    pub(crate) after: u64,
}

/// What the filter looks at in a row.
pub(crate) struct Facts {
    pub(crate) started: u64,
    pub(crate) latency: u64,
    pub(crate) cgroup: u64,
    pub(crate) is_error: bool,
}

impl RowFilter {
    /// The filter of a query.
    pub fn new(query: &RowQuery) -> Self {
        let table = |word: &String| Table::ALL.into_iter().find(|table| table.protocol().as_str() == word);
        Self {
            since: query.since_ns,
            until: if query.until_ns == 0 { u64::MAX } else { query.until_ns },
            cgroups: query.cgroups.as_ref().map(|cgroups| cgroups.iter().copied().collect()),
            tables: query.protocol.as_ref().map(table),
            slower_than: query.slower_than_ns,
            errors: query.errors,
            limit: usize::try_from(query.limit).unwrap_or(usize::MAX),
            after: query.after_sequence,
        }
    }

    /// Some rows of this table may be wanted.
    pub(crate) fn wants_table(&self, table: Table) -> bool {
        self.tables.is_none_or(|wanted| wanted == Some(table))
    }

    /// Whether a row with these facts is wanted, if its table is.
    pub(crate) fn matches(&self, facts: &Facts) -> bool {
        (self.since..self.until).contains(&facts.started)
            && facts.latency >= self.slower_than
            && (facts.is_error || !self.errors)
            && self.cgroups.as_ref().is_none_or(|cgroups| cgroups.contains(&facts.cgroup))
    }

    pub(crate) fn matches_row(&self, row: &Row) -> bool {
        self.wants_table(row.table)
            && self.matches(&Facts {
                started: row.started,
                latency: row.latency,
                cgroup: row.facts.cgroup,
                is_error: row.is_error,
            })
    }
}
