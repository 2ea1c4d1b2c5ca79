//! The readers of rows: what each wants, and how far it has come.

use std::{collections::VecDeque, io};

use trilobite_tables::{RowFilter, RowRing};
use trilobite_worker_wire::{Message, RowQuery, pack_rows};

use crate::outbox::Outbox;

/// Scans of rows in a row, over all readers, before the ring is read again.
const SCANS: usize = 16;

struct Reader {
    id: u32,
    filter: RowFilter,
    follow: bool,
    /// Number of the first row that the reader was not sent.
    next: u64,
    /// Number of the newest row when the reader came: rows behind it are for followers only.
    past: u64,
    /// The rows up to `past` have been sent.
    is_complete: bool,
    /// Rows that had left before they could be sent, for the next `RowsComplete`.
    evicted: u64,
}

/// All readers; the first is served next.
#[derive(Default)]
pub(super) struct Readers(VecDeque<Reader>);

impl Readers {
    pub(super) fn add(&mut self, id: u32, query: &RowQuery, rows: &RowRing) {
        let filter = RowFilter::new(query);
        let next = rows.first_wanted(&filter);
        self.remove(id);
        self.0.push_back(Reader {
            id,
            follow: query.follow,
            next: next.max(rows.first_sequence()),
            past: rows.newest_sequence(),
            is_complete: false,
            evicted: rows.evicted_after(query.after_sequence),
            filter,
        });
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.0.retain(|reader| reader.id != id);
    }

    /// Sends some rows to each reader, in turns, if no earlier ones wait. Returns whether some reader has more to get.
    pub(super) fn serve(&mut self, rows: &RowRing, outbox: &mut Outbox) -> io::Result<bool> {
        for _ in 0..SCANS {
            if outbox.has_rows() {
                return Ok(true);
            }
            let Some(at) = self.0.iter().position(|reader| reader.has_more(rows)) else { return Ok(false) };
            let Some(mut reader) = self.0.remove(at) else { return Ok(false) };
            if reader.advance(rows, outbox)? {
                self.0.push_back(reader);
            }
        }
        Ok(self.0.iter().any(|reader| reader.has_more(rows)))
    }
}

impl Reader {
    fn has_more(&self, rows: &RowRing) -> bool {
        !self.is_complete || self.next <= rows.newest_sequence()
    }

    /// Sends the rows of a scan. Returns whether the reader stays.
    fn advance(&mut self, rows: &RowRing, outbox: &mut Outbox) -> io::Result<bool> {
        self.evicted += rows.evicted_after(self.next - 1);
        let start = self.next.max(rows.first_sequence());
        let end = if self.is_complete { u64::MAX } else { self.past + 1 };
        let scan = rows.scan(&self.filter, start..end);
        self.next = scan.next;
        for message in pack_rows(self.id, scan.rows) {
            outbox.push_rows(&message)?;
        }
        let past_is_sent = !self.is_complete && self.next > self.past;
        if past_is_sent {
            // The scan ended behind the newest row, and a follower wants those behind the past.
            self.next = start.max(self.past + 1);
        }
        if past_is_sent || (self.is_complete && self.evicted > 0) {
            self.is_complete = true;
            let evicted = std::mem::take(&mut self.evicted);
            outbox.push_rows(&Message::RowsComplete { id: self.id, newest_sequence: self.next - 1, evicted })?;
        }
        Ok(self.follow || !self.is_complete)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use trilobite_protocols::{Exchange, Fields, RedisFields, Role};
    use trilobite_tables::{ConnectionFacts, Row, Upid};
    use trilobite_worker_wire::channel::{pair, receive};

    use super::*;

    fn push(rows: &mut RowRing, count: u64) {
        for _ in 0..count {
            let facts = ConnectionFacts {
                process: Upid::default(),
                cgroup: 7,
                connection: 1,
                local: None,
                remote: None,
                role: Role::Server,
                encrypted: false,
            };
            let fields = Fields::Redis(RedisFields { arguments: "x".repeat(1000), ..RedisFields::default() });
            let (started, asked, ended, is_error, mid_stream) = (1, 2, 3, false, false);
            let (request_bytes, response_bytes) = (10, 20);
            let exchange =
                Exchange { started, asked, ended, request_bytes, response_bytes, is_error, mid_stream, fields };
            rows.push(Row::new(facts, exchange));
        }
    }

    fn rows(count: u64) -> RowRing {
        let mut rows = RowRing::new(u64::MAX);
        push(&mut rows, count);
        rows
    }

    struct Agent {
        socket: OwnedFd,
        peer: OwnedFd,
        outbox: Outbox,
    }

    impl Agent {
        fn new() -> Self {
            let (socket, peer) = pair().unwrap();
            Self { socket, peer, outbox: Outbox::default() }
        }

        /// Serves the readers until they have nothing left. Returns the numbers of the rows, and of each `RowsComplete` the
        /// newest row and the evicted rows.
        fn read(&mut self, readers: &mut Readers, rows: &RowRing) -> (Vec<u64>, Vec<(u64, u64)>) {
            let (mut sequences, mut ends) = (Vec::new(), Vec::new());
            loop {
                let has_more = readers.serve(rows, &mut self.outbox).unwrap();
                self.outbox.flush(self.peer.as_fd()).unwrap();
                while let Ok(packet) = receive(&self.socket, &mut Vec::new(), false) {
                    match Message::decode(&packet.bytes).unwrap() {
                        Message::RowsChunk { rows, .. } => sequences.extend(rows.iter().map(|row| row.sequence)),
                        Message::RowsComplete { newest_sequence, evicted, .. } => ends.push((newest_sequence, evicted)),
                        other => panic!("{other:?}"),
                    }
                }
                if !has_more && self.outbox.is_empty() {
                    return (sequences, ends);
                }
            }
        }
    }

    #[test]
    fn reader_gets_the_past_once_and_is_gone() {
        let (rows, mut readers, mut agent) = (rows(1_000), Readers::default(), Agent::new());
        readers.add(1, &RowQuery::default(), &rows);
        assert_eq!(agent.read(&mut readers, &rows), ((1..=1_000).collect(), vec![(1_000, 0)]));
        assert!(readers.0.is_empty());
    }

    #[test]
    fn follower_gets_each_row_once_also_those_made_meanwhile() {
        let (mut rows, mut readers, mut agent) = (rows(1_000), Readers::default(), Agent::new());
        readers.add(1, &RowQuery { follow: true, limit: 10, ..RowQuery::default() }, &rows);
        push(&mut rows, 5);
        assert_eq!(agent.read(&mut readers, &rows), ((991..=1_005).collect(), vec![(1_000, 0)]));
        push(&mut rows, 2);
        assert_eq!(agent.read(&mut readers, &rows), ((1_006..=1_007).collect(), vec![]));
        readers.remove(1);
        push(&mut rows, 2);
        assert_eq!(agent.read(&mut readers, &rows), (vec![], vec![]));
    }

    #[test]
    fn rows_that_left_early_are_counted_for_each_reader() {
        let (mut rows, mut readers, mut agent) = (rows(1_000), Readers::default(), Agent::new());
        rows.evict_to(rows.memory() / 2);
        let first = rows.first_sequence();
        readers.add(1, &RowQuery { follow: true, ..RowQuery::default() }, &rows);
        assert_eq!(agent.read(&mut readers, &rows), ((first..=1_000).collect(), vec![(1_000, first - 1)]));
        push(&mut rows, 500);
        rows.evict_to(0);
        assert_eq!(agent.read(&mut readers, &rows), (vec![], vec![(1_500, 500)]));
        readers.add(2, &RowQuery { after_sequence: 1_400, ..RowQuery::default() }, &rows);
        assert_eq!(agent.read(&mut readers, &rows), (vec![], vec![(1_500, 100)]));
    }
}
