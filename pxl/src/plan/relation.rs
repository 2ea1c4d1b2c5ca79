//! The columns of a node's rows.

use std::sync::Arc;

use trilobite_schema::{Column, ColumnType, SemanticType, TableSchema};

/// A column of a node's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub kind: ColumnType,
    /// What its values mean.
    pub semantic: SemanticType,
    /// Whether a client sees it.
    pub visibility: Visibility,
}

/// Whether a client sees a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// It is part of what is displayed.
    Listed,
    /// It can be named, and is displayed only if it was.
    Unlisted,
    /// Another name of this column. It is no column of the rows: expressions name the other one.
    AliasOf(Arc<str>),
}

/// The columns of a node's rows, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    columns: Vec<RelationColumn>,
}

impl RelationColumn {
    /// A column that clients see.
    pub(crate) fn listed(name: Arc<str>, kind: ColumnType, semantic: SemanticType) -> Self {
        Self { name, kind, semantic, visibility: Visibility::Listed }
    }
}

impl Relation {
    pub(crate) fn new(columns: Vec<RelationColumn>) -> Self {
        Self { columns }
    }

    /// What a table has: Pixie's columns, ours, and other names.
    pub(crate) fn of_table(table: &TableSchema) -> Self {
        let make = |column: &Column, visibility| RelationColumn {
            name: column.name.into(),
            kind: column.kind,
            semantic: column.semantic,
            visibility,
        };
        let mut columns: Vec<_> = table.columns().map(|column| make(column, Visibility::Listed)).collect();
        columns.extend(table.unlisted().map(|column| make(column, Visibility::Unlisted)));
        for (alias, target) in table.aliases {
            if let Some(column) = table.columns().find(|column| column.name == *target) {
                let name = Arc::from(*alias);
                columns.push(RelationColumn { name, ..make(column, Visibility::AliasOf((*target).into())) });
            }
        }
        Self { columns }
    }

    /// All columns, also those that are not listed, and aliases.
    pub fn columns(&self) -> &[RelationColumn] {
        &self.columns
    }

    /// The columns that clients see.
    pub fn listed(&self) -> impl Iterator<Item = &RelationColumn> {
        self.columns.iter().filter(|column| column.visibility == Visibility::Listed)
    }

    /// The column that this name leads to.
    pub fn find(&self, name: &str) -> Option<&RelationColumn> {
        self.columns.iter().find(|column| &*column.name == name)
    }

    /// The relation with this column behind the others, as a listed one. One of its name is replaced, and other names of that
    /// one are gone.
    pub(crate) fn assign(&self, assigned: RelationColumn) -> Self {
        let stays = |column: &&RelationColumn| {
            column.name != assigned.name && column.visibility != Visibility::AliasOf(assigned.name.clone())
        };
        let mut columns: Vec<_> = self.columns.iter().filter(stays).cloned().collect();
        columns.push(assigned);
        Self { columns }
    }

    /// These columns, in this order.
    pub(crate) fn keep(&self, names: &[Arc<str>]) -> Self {
        Self { columns: names.iter().filter_map(|name| self.find(name).cloned()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(relation: &Relation) -> String {
        relation.listed().map(|column| &*column.name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn aliases_and_our_columns_are_found_and_not_listed() {
        let relation = Relation::of_table(&trilobite_schema::PGSQL_EVENTS);
        assert_eq!(relation.listed().count(), 12);
        assert_eq!(relation.find("req_body").unwrap().visibility, Visibility::AliasOf("req".into()));
        assert_eq!(relation.find("latency_ns").unwrap().semantic, SemanticType::DurationNs);
        assert_eq!(relation.find("cgroup").unwrap().visibility, Visibility::Unlisted);
        assert_eq!(relation.find("nothing"), None);
    }

    #[test]
    fn assigned_columns_stand_last_and_end_their_aliases() {
        let relation = Relation::of_table(&trilobite_schema::MUX_EVENTS);
        let latency = RelationColumn::listed("latency".into(), ColumnType::Float64, SemanticType::None);
        let relation = relation.assign(latency.clone());
        assert!(names(&relation).ends_with("req_type latency"));
        assert_eq!(relation.find("latency"), Some(&latency));
        assert_eq!(relation.find("latency_ns"), None);
    }
}
