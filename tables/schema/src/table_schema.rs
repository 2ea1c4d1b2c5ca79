//! A table: its columns as Pixie has them, and ours, which are found by name.

use crate::{column::Column, shared::EXTENSIONS};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Its name.
    pub name: &'static str,
    /// The columns that all tables of exchanges begin with.
    pub connection: &'static [Column],
    /// The table's own columns.
    pub own: &'static [Column],
    /// The columns that all tables of exchanges end with.
    pub timing: &'static [Column],
    /// Our columns of this table, which Pixie's does not have. They stand behind `EXTENSIONS`.
    pub extensions: &'static [Column],
    /// Our other names of columns: (name, column). Found by name and never listed.
    pub aliases: &'static [(&'static str, &'static str)],
}

impl TableSchema {
    /// A table that holds no exchanges.
    pub(crate) const fn plain(name: &'static str, own: &'static [Column]) -> Self {
        Self { name, connection: &[], own, timing: &[], extensions: &[], aliases: &[] }
    }

    /// The columns as Pixie has them, in order.
    pub fn columns(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.connection.iter().chain(self.own).chain(self.timing)
    }

    /// Our columns of its rows, in order: found by name and never listed.
    pub fn unlisted(&self) -> impl Iterator<Item = &'static Column> + use<> {
        let shared: &'static [Column] = if self.has_exchanges() { &EXTENSIONS } else { &[] };
        shared.iter().chain(self.extensions)
    }

    /// Its rows are requests and their answers, as a connection carried them.
    pub fn has_exchanges(&self) -> bool {
        !self.connection.is_empty()
    }
}
