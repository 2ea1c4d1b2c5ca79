//! Texts of prepared statements by their ids, which a server counts up and does not use again on a connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Bytes of a connection's statements; beyond it the oldest are forgotten.
const STATEMENTS_BYTES_MAX: usize = 256 << 10;
/// What an entry costs beside its text.
const ENTRY_BYTES: usize = 64;
/// Stands for the statement that was prepared last (MariaDB).
pub(super) const LAST_STATEMENT: u32 = u32::MAX;

/// Texts are redacted before they come here.
#[derive(Default)]
pub(super) struct Statements {
    by_id: HashMap<u32, Arc<str>>,
    /// By age; an id may be gone, or stand here twice.
    order: VecDeque<u32>,
    last: Option<u32>,
    size: usize,
}

impl Statements {
    pub(super) fn prepare(&mut self, id: u32, text: Arc<str>) {
        self.close(id);
        self.last = Some(id);
        self.size += text.len() + ENTRY_BYTES;
        self.by_id.insert(id, text);
        self.order.push_back(id);
        while self.size > STATEMENTS_BYTES_MAX || self.order.len() > 2 * self.by_id.len() + 16 {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.size > STATEMENTS_BYTES_MAX && !self.order.contains(&oldest) {
                self.close(oldest);
            }
        }
    }

    pub(super) fn close(&mut self, id: u32) {
        if let Some(text) = self.by_id.remove(&id) {
            self.size -= text.len() + ENTRY_BYTES;
        }
    }

    /// The connection was reset, or a preparation failed: there is no last statement.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The text of a statement, if its preparation was seen. Which one is the last is known once all before it are answered.
    pub(super) fn text(&self, id: u32) -> Option<Arc<str>> {
        let id = if id == LAST_STATEMENT { self.last? } else { id };
        self.by_id.get(&id).cloned()
    }

    pub(super) fn memory(&self) -> usize {
        self.size + self.order.capacity() * size_of::<u32>()
    }
}

/// Stands for a statement that was prepared before the connection was followed.
pub(super) fn unknown_statement(id: u32) -> String {
    match id {
        LAST_STATEMENT => "<unknown statement>".to_owned(),
        id => format!("<unknown statement {id}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_statements_leave_first() {
        let mut statements = Statements::default();
        let text: Arc<str> = "x".repeat(1000).into();
        for id in 0..1000 {
            statements.prepare(id, text.clone());
            assert!(statements.memory() < 2 * STATEMENTS_BYTES_MAX, "{}", statements.memory());
        }
        assert_eq!((statements.text(999), statements.text(LAST_STATEMENT)), (Some(text.clone()), Some(text)));
        assert_eq!(statements.text(0), None);
    }

    #[test]
    fn last_statement_is_gone_when_it_is_closed() {
        let mut statements = Statements::default();
        statements.prepare(7, "SELECT a".into());
        assert_eq!(statements.text(LAST_STATEMENT).as_deref(), Some("SELECT a"));
        statements.close(7);
        assert_eq!((statements.text(7), statements.text(LAST_STATEMENT)), (None, None));
    }
}
