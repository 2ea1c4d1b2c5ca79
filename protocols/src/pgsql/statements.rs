//! Texts of prepared statements and of the portals that were bound to them, by name.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Bytes of a connection's statements; beyond it the oldest are forgotten.
const STATEMENTS_BYTES_MAX: usize = 256 << 10;
const PORTALS_MAX: usize = 64;
/// Stands for a statement that was prepared before the connection was followed.
pub(super) const UNKNOWN_STATEMENT: &str = "<unknown statement>";
/// What an entry costs beside its texts and its name.
const ENTRY_BYTES: usize = 96;

/// Texts are redacted before they come here.
#[derive(Default)]
pub(super) struct Statements {
    by_name: HashMap<String, Arc<str>>,
    /// By age; a name may be gone, or stand here twice.
    order: VecDeque<String>,
    portals: HashMap<String, Arc<str>>,
    /// Of the statements, and of the portals.
    size: usize,
    portals_size: usize,
}

impl Statements {
    /// Parse: `name` is empty for the unnamed statement.
    pub(super) fn prepare(&mut self, name: &str, text: Arc<str>) {
        self.forget(name);
        self.size += cost(name, &text);
        self.by_name.insert(name.to_owned(), text);
        self.order.push_back(name.to_owned());
        while self.size > STATEMENTS_BYTES_MAX || self.order.len() > 2 * self.by_name.len() + 16 {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.size > STATEMENTS_BYTES_MAX && !self.order.contains(&oldest) {
                self.forget(&oldest);
            }
        }
    }

    /// Close, or a Parse that failed.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some(text) = self.by_name.remove(name) {
            self.size -= cost(name, &text);
        }
    }

    /// Bind: the portal's text is that of its statement.
    pub(super) fn bind(&mut self, portal: &str, statement: &str) -> Arc<str> {
        let text = match self.by_name.get(statement) {
            Some(text) => text.clone(),
            None if statement.is_empty() => UNKNOWN_STATEMENT.into(),
            None => format!("<unknown statement {statement}>").into(),
        };
        self.set_portal(portal, text)
    }

    /// Bind to a statement whose name was not seen.
    pub(super) fn bind_unknown(&mut self, portal: &str) -> Arc<str> {
        self.set_portal(portal, UNKNOWN_STATEMENT.into())
    }

    fn set_portal(&mut self, portal: &str, text: Arc<str>) -> Arc<str> {
        self.close_portal(portal);
        if self.portals.len() >= PORTALS_MAX {
            self.lose_portals();
        }
        self.portals_size += cost(portal, &text);
        self.portals.insert(portal.to_owned(), text.clone());
        text
    }

    pub(super) fn close_portal(&mut self, portal: &str) {
        if let Some(text) = self.portals.remove(portal) {
            self.portals_size -= cost(portal, &text);
        }
    }

    /// Execute.
    pub(super) fn portal(&self, portal: &str) -> Arc<str> {
        self.portals.get(portal).cloned().unwrap_or_else(|| UNKNOWN_STATEMENT.into())
    }

    /// Messages of the client were not seen: what has no name may have another text now.
    pub(super) fn lose_unnamed(&mut self) {
        self.forget("");
        self.lose_portals();
    }

    pub(super) fn lose_portals(&mut self) {
        self.portals.clear();
        self.portals_size = 0;
    }

    pub(super) fn memory(&self) -> usize {
        self.size + self.portals_size + self.order.capacity() * size_of::<String>()
    }
}

fn cost(name: &str, text: &str) -> usize {
    2 * name.len() + text.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_statements_leave_first() {
        let mut statements = Statements::default();
        let text: Arc<str> = "x".repeat(1000).into();
        for number in 0..1000 {
            statements.prepare(&format!("s{number}"), text.clone());
            assert!(statements.memory() < 2 * STATEMENTS_BYTES_MAX, "{}", statements.memory());
        }
        assert_eq!(&*statements.bind("", "s999"), &*text);
        assert_eq!(&*statements.bind("", "s0"), "<unknown statement s0>");
    }

    #[test]
    fn one_statement_prepared_anew_costs_nothing_more() {
        let mut statements = Statements::default();
        for number in 0..10_000 {
            statements.prepare("", format!("select {number}").into());
        }
        assert!(statements.memory() < 4096, "{}", statements.memory());
        assert_eq!(&*statements.bind("", ""), "select 9999");
    }
}
