//! The questions of readers that a worker is answering. A reader that is slow delays neither the worker nor another reader: its
//! question is put again later, from where it stopped. Pure: the caller sends the messages.

use std::collections::BTreeMap;

use trilobite_worker_wire::{Message, RequestRow, RowQuery};

use super::rows::{RowsAnswer, RowsQuestion, RowsSender};

/// Questions that are answered at a time.
const QUERIES_MAX: usize = 64;
/// A question pauses while its reader has so many bytes of rows to read.
const UNREAD_MAX: usize = 1 << 20;
/// A paused question is put again once its reader has at most so many.
const UNREAD_MIN: usize = 256 << 10;

#[derive(Default)]
pub(super) struct Queries {
    last_id: u32,
    active: BTreeMap<u32, Query>,
    paused: Vec<Query>,
}

struct Query {
    query: RowQuery,
    answers: RowsSender,
    /// The reader was notified that it has all rows of the past.
    is_completed: bool,
    /// End of what is asked for when the question is put again.
    asked_at_ns: u64,
}

impl Queries {
    /// Takes a question; returns what is to be sent to the worker.
    pub(super) fn ask(&mut self, question: RowsQuestion, now_ns: u64) -> Option<Message> {
        let RowsQuestion { query, answers } = question;
        if self.active.len() + self.paused.len() >= QUERIES_MAX {
            answers.send(RowsAnswer::Gone(format!("{QUERIES_MAX} others read the rows of this profile")));
            return None;
        }
        Some(self.put(Query { query, answers, is_completed: false, asked_at_ns: now_ns }))
    }

    fn put(&mut self, query: Query) -> Message {
        self.last_id = self.last_id.wrapping_add(1);
        let message = Message::RowsWanted { id: self.last_id, query: query.query.clone() };
        self.active.insert(self.last_id, query);
        message
    }

    /// Passes rows on. Returns a cancellation where the reader is gone or has enough for now.
    pub(super) fn receive_rows(&mut self, id: u32, rows: Vec<RequestRow>) -> Option<Message> {
        // The rows of a cancelled question were on their way.
        let query = self.active.get_mut(&id)?;
        for row in rows {
            query.query.after_sequence = row.sequence;
            query.answers.send(RowsAnswer::Row(Box::new(row)));
        }
        if query.answers.is_closed() {
            self.active.remove(&id);
            return Some(Message::RowsCancelled { id });
        }
        if query.answers.unread_bytes() < UNREAD_MAX {
            return None;
        }
        let mut query = self.active.remove(&id)?;
        // The limit has decided which row is the first: all behind it are wanted.
        query.query.limit = 0;
        if !query.query.follow && query.query.until_ns == 0 {
            query.query.until_ns = query.asked_at_ns;
        }
        self.paused.push(query);
        Some(Message::RowsCancelled { id })
    }

    /// The worker has sent all rows of the past.
    pub(super) fn complete(&mut self, id: u32, newest_sequence: u64, evicted: u64, oldest_ns: u64) {
        let Some(query) = self.active.get_mut(&id) else { return };
        if !query.is_completed || evicted > 0 {
            query.answers.send(RowsAnswer::Complete { evicted, newest_sequence, oldest_ns });
        }
        query.is_completed = true;
        if !query.query.follow {
            self.active.remove(&id);
        }
    }

    /// Some reader has to read before its question goes on.
    pub(super) fn has_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Goes on with the questions whose readers have caught up, and drops those whose readers are gone.
    pub(super) fn review(&mut self) -> Vec<Message> {
        let gone: Vec<u32> =
            self.active.iter().filter(|(_, query)| query.answers.is_closed()).map(|(id, _)| *id).collect();
        let mut messages: Vec<Message> = Vec::new();
        for id in gone {
            self.active.remove(&id);
            messages.push(Message::RowsCancelled { id });
        }
        let (caught_up, waiting): (Vec<Query>, Vec<Query>) = std::mem::take(&mut self.paused)
            .into_iter()
            .filter(|query| !query.answers.is_closed())
            .partition(|query| query.answers.unread_bytes() <= UNREAD_MIN);
        self.paused = waiting;
        messages.extend(caught_up.into_iter().map(|query| self.put(query)));
        messages
    }

    /// No question is answered any more: the worker that had the rows is gone.
    pub(super) fn end_all(&mut self, reason: &str) {
        let all = std::mem::take(&mut self.active).into_values().chain(std::mem::take(&mut self.paused));
        all.for_each(|query| query.answers.send(RowsAnswer::Gone(reason.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::{
        super::rows::{RowsReceiver, answers, tests::row},
        *,
    };

    /// Ten of them are too many unread bytes.
    fn rows(sequences: RangeInclusive<u64>) -> Vec<RequestRow> {
        sequences.map(|sequence| RequestRow { target: "x".repeat(UNREAD_MAX / 10), ..row(sequence, 1) }).collect()
    }

    fn question(query: RowQuery) -> (RowsQuestion, RowsReceiver) {
        let (answers, receiver) = answers();
        (RowsQuestion { query, answers }, receiver)
    }

    async fn read(reader: &mut RowsReceiver, sequences: RangeInclusive<u64>) {
        for sequence in sequences {
            let Some(RowsAnswer::Row(row)) = reader.next().await else { panic!("row {sequence} is missing") };
            assert_eq!(row.sequence, sequence);
        }
    }

    #[tokio::test]
    async fn slow_reader_gets_every_row_of_the_past_once() {
        let mut queries = Queries::default();
        let (question, mut reader) = question(RowQuery { limit: 50, ..RowQuery::default() });
        assert!(matches!(queries.ask(question, 77), Some(Message::RowsWanted { id: 1, .. })));
        assert_eq!(queries.receive_rows(1, rows(1..=9)), None);
        assert_eq!(queries.receive_rows(1, rows(10..=11)), Some(Message::RowsCancelled { id: 1 }));
        // These were on their way when the question was cancelled.
        assert_eq!(queries.receive_rows(1, rows(12..=13)), None);
        assert!(queries.has_paused() && queries.review().is_empty(), "the reader has read nothing yet");
        read(&mut reader, 1..=10).await;
        let again = queries.review();
        let [Message::RowsWanted { id: 2, query }] = again.as_slice() else { panic!("{again:?}") };
        assert_eq!((query.after_sequence, query.limit, query.until_ns), (11, 0, 77));
        queries.receive_rows(2, rows(12..=14));
        queries.complete(2, 14, 3, 1);
        read(&mut reader, 11..=14).await;
        assert_eq!(reader.next().await, Some(RowsAnswer::Complete { evicted: 3, newest_sequence: 14, oldest_ns: 1 }));
        assert_eq!((reader.next().await, reader.take_lost()), (None, 0));
    }

    #[tokio::test]
    async fn follower_is_notified_once_that_the_past_is_complete() {
        let mut queries = Queries::default();
        let (question, mut reader) = question(RowQuery { follow: true, ..RowQuery::default() });
        queries.ask(question, 77);
        queries.complete(1, 0, 0, 0);
        queries.receive_rows(1, rows(1..=10));
        assert_eq!(reader.next().await, Some(RowsAnswer::Complete { evicted: 0, newest_sequence: 0, oldest_ns: 0 }));
        read(&mut reader, 1..=10).await;
        let again = queries.review();
        let [Message::RowsWanted { id: 2, query }] = again.as_slice() else { panic!("{again:?}") };
        assert_eq!((query.after_sequence, query.until_ns), (10, 0));
        queries.complete(2, 10, 0, 0);
        queries.end_all("the worker ended");
        assert_eq!(reader.next().await, Some(RowsAnswer::Gone("the worker ended".into())));
    }

    #[test]
    fn question_of_a_reader_that_is_gone_is_cancelled() {
        let mut queries = Queries::default();
        let (question, reader) = question(RowQuery { follow: true, ..RowQuery::default() });
        queries.ask(question, 77);
        assert!(queries.review().is_empty());
        drop(reader);
        assert_eq!(queries.review(), [Message::RowsCancelled { id: 1 }]);
        assert_eq!(queries.receive_rows(1, rows(1..=1)), None);
    }

    #[tokio::test]
    async fn question_above_the_limit_is_answered_at_once() {
        let mut queries = Queries::default();
        let mut readers = Vec::new();
        for _ in 0..QUERIES_MAX {
            let (question, reader) = question(RowQuery { follow: true, ..RowQuery::default() });
            assert!(queries.ask(question, 0).is_some());
            readers.push(reader);
        }
        let (more, mut reader) = question(RowQuery::default());
        assert_eq!(queries.ask(more, 0), None);
        assert!(matches!(reader.next().await, Some(RowsAnswer::Gone(_))));
    }
}
