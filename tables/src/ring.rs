//! The newest rows of a profile, bounded by bytes and age. Rows are kept as they were made until 64 KiB of them are there, and
//! then sealed: a segment has one Arrow batch for each table, and its rows follow each other in number. So segments leave in
//! order, the oldest first.

use std::collections::VecDeque;

use arrow_array::RecordBatch;

use crate::{batch, row::Row, table::Table};

/// Bytes of rows that make a segment.
const SEGMENT_BYTES: usize = 64 << 10;

/// Sealed rows.
pub(crate) struct Segment {
    pub(crate) last_sequence: u64,
    pub(crate) batches: Vec<(Table, RecordBatch)>,
    rows: u64,
    bytes: usize,
    /// When the first of its requests began.
    oldest: u64,
    /// When the last of its answers ended.
    newest_end: u64,
}

/// The newest rows. Time is an argument.
pub struct RowRing {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) open: VecDeque<Row>,
    segment_bytes: usize,
    open_bytes: usize,
    retain_ns: u64,
    next_sequence: u64,
    evicted: u64,
}

impl RowRing {
    /// An empty ring. Rows are kept for `retain_ns`.
    pub fn new(retain_ns: u64) -> Self {
        Self {
            segments: VecDeque::new(),
            open: VecDeque::new(),
            segment_bytes: 0,
            open_bytes: 0,
            retain_ns,
            next_sequence: 1,
            evicted: 0,
        }
    }

    /// Adds a row, and gives it its number.
    pub fn push(&mut self, mut row: Row) {
        row.sequence = self.next_sequence;
        self.next_sequence += 1;
        self.open_bytes += row.memory();
        self.open.push_back(row);
        if self.open_bytes >= SEGMENT_BYTES {
            self.seal();
        }
    }

    /// Removes the oldest rows until the rest takes at most so many bytes.
    pub fn evict_to(&mut self, bytes: usize) {
        while self.memory() > bytes {
            match self.segments.pop_front() {
                Some(segment) => {
                    self.segment_bytes -= segment.bytes;
                    self.evicted += segment.rows;
                }
                None => match self.open.pop_front() {
                    Some(row) => {
                        self.open_bytes -= row.memory();
                        self.evicted += 1;
                    }
                    None => return,
                },
            }
        }
    }

    /// Removes the rows that are older than they are to be kept.
    pub fn expire(&mut self, now: u64) {
        let keep_from = now.saturating_sub(self.retain_ns);
        while let Some(segment) = self.segments.front().filter(|segment| segment.newest_end < keep_from) {
            self.segment_bytes -= segment.bytes;
            self.segments.pop_front();
        }
        while self.segments.is_empty()
            && let Some(row) = self.open.front().filter(|row| row.ended() < keep_from)
        {
            self.open_bytes -= row.memory();
            self.open.pop_front();
        }
    }

    /// Bytes that all rows take.
    pub fn memory(&self) -> usize {
        self.segment_bytes + self.open_bytes
    }

    /// Begin of the oldest request.
    pub fn oldest(&self) -> Option<u64> {
        let open = || self.open.iter().map(|row| row.started).min();
        self.segments.front().map(|segment| segment.oldest).or_else(open)
    }

    /// Number of the newest row; 0 before the first.
    pub fn newest_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Number of the oldest row that is kept, or of the next one.
    pub fn first_sequence(&self) -> u64 {
        let rows = self.segments.iter().map(|segment| segment.rows).sum::<u64>() + self.open.len() as u64;
        self.next_sequence - rows
    }

    /// Rows that left before they were too old.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Evicted rows with a higher number than this. Rows among them that expired may be counted, too.
    pub fn evicted_after(&self, sequence: u64) -> u64 {
        self.evicted.min((self.first_sequence() - 1).saturating_sub(sequence))
    }

    fn seal(&mut self) {
        let rows: Vec<Row> = self.open.drain(..).collect();
        self.open_bytes = 0;
        let mut batches = Vec::new();
        for table in Table::ALL {
            let of_table: Vec<&Row> = rows.iter().filter(|row| row.table == table).collect();
            if of_table.is_empty() {
                continue;
            }
            match batch::build(table, &of_table) {
                Ok(batch) => batches.push((table, batch)),
                // Above 2 GiB of texts, which `SEGMENT_BYTES` excludes.
                Err(_) => self.evicted += of_table.len() as u64,
            }
        }
        let bytes = batches.iter().map(|(_, batch)| batch::memory(batch)).sum();
        self.segment_bytes += bytes;
        self.segments.push_back(Segment {
            last_sequence: self.next_sequence - 1,
            batches,
            rows: rows.len() as u64,
            bytes,
            oldest: rows.iter().map(|row| row.started).min().unwrap_or_default(),
            newest_end: rows.iter().map(Row::ended).max().unwrap_or_default(),
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use trilobite_protocols::{DnsFields, Exchange, Fields, HttpFields, PgsqlFields, RedisFields, Role};

    use super::*;
    use crate::{row::ConnectionFacts, upid::Upid};

    /// A row of `http_events`, or of `redis_events` for odd times, that began at this time.
    pub(crate) fn row(time: u64) -> Row {
        let http = HttpFields { path: format!("/cart/{time}"), status: Some(200), ..HttpFields::default() };
        let redis = RedisFields { command: "GET".into(), arguments: format!("cart:{time}"), response: "bulk".into() };
        row_of(time, if time.is_multiple_of(2) { Fields::Http(http) } else { Fields::Redis(redis) })
    }

    fn row_of(time: u64, fields: Fields) -> Row {
        let facts = ConnectionFacts {
            process: Upid { asid: 0, pid: 10, start: 5 },
            cgroup: 70 + time % 3,
            connection: 1,
            local: None,
            remote: "10.0.0.9:41000".parse().ok(),
            role: Role::Client,
            encrypted: false,
        };
        let (request_bytes, response_bytes, is_error, mid_stream) = (80, 900, time.is_multiple_of(5), false);
        let (started, asked, ended) = (time, time, time + time % 7);
        Row::new(facts, Exchange { started, asked, ended, request_bytes, response_bytes, is_error, mid_stream, fields })
    }

    pub(crate) fn ring_of(rows: u64) -> RowRing {
        let mut ring = RowRing::new(u64::MAX);
        (1..=rows).for_each(|time| ring.push(row(time)));
        ring
    }

    #[test]
    fn budget_removes_the_oldest_rows_and_counts_them() {
        let mut ring = ring_of(10_000);
        let before = ring.memory();
        ring.evict_to(before / 2);
        assert!(ring.memory() <= before / 2 && ring.memory() > before / 3);
        assert_eq!(ring.evicted(), ring.first_sequence() - 1);
        assert_eq!(ring.oldest(), Some(ring.first_sequence()));
        assert_eq!(ring.newest_sequence(), 10_000);
        ring.evict_to(0);
        assert_eq!((ring.memory(), ring.evicted(), ring.oldest(), ring.first_sequence()), (0, 10_000, None, 10_001));
    }

    #[test]
    fn old_rows_expire_and_are_no_loss() {
        let mut ring = RowRing::new(1_000);
        (1..=10_000).for_each(|time| ring.push(row(time)));
        ring.expire(10_000);
        let first = ring.first_sequence();
        // A segment leaves as a whole.
        assert!((5_000..=9_000).contains(&first), "{first}");
        ring.expire(20_000);
        assert_eq!((ring.memory(), ring.oldest(), ring.evicted()), (0, None, 0));
    }

    /// Bytes that a row of these fields takes once it is sealed.
    fn bytes_of(fields: &Fields) -> usize {
        let mut ring = RowRing::new(u64::MAX);
        for _ in 0..5_000 {
            ring.push(row_of(0, fields.clone()));
        }
        ring.memory() / 5_000
    }

    #[test]
    fn rows_take_the_bytes_that_the_docs_name() {
        let header = |name: &str, bytes: usize| (name.to_owned(), "x".repeat(bytes));
        let http = Fields::Http(HttpFields {
            method: "GET".into(),
            path: "/api/carts/1234567/items".into(),
            request_headers: ["Host", "User-Agent", "Accept", "Authorization", "X-Request-Id"]
                .map(|name| header(name, 24))
                .into(),
            status: Some(200),
            reason: "OK".into(),
            response_headers: ["Date", "Content-Type", "Content-Length", "Server"].map(|name| header(name, 24)).into(),
            ..HttpFields::default()
        });
        let pgsql = Fields::Pgsql(PgsqlFields {
            command: "Query".into(),
            statement: "SELECT id, name, price FROM items WHERE cart = ? ORDER BY added".into(),
            response: "SELECT 12".into(),
            ..PgsqlFields::default()
        });
        let redis = Fields::Redis(RedisFields {
            command: "GET".into(),
            arguments: "cart:1234567".into(),
            response: "<redacted>".into(),
        });
        let dns = Fields::Dns(DnsFields {
            name: "cart.shop.svc.cluster.local".into(),
            kind: "A".into(),
            rcode: "NOERROR".into(),
            request_header: "x".repeat(150),
            request_body: "x".repeat(70),
            response_header: "x".repeat(150),
            response_body: "x".repeat(80),
            ..DnsFields::default()
        });
        let bytes = [http, pgsql, redis, dns].map(|fields| bytes_of(&fields));
        let rounded = bytes.map(|bytes| bytes.next_multiple_of(100));
        assert_eq!(rounded, [800, 300, 200, 800], "{bytes:?}");
    }
}
