//! Columns of a DataFrame: read, assigned, kept, dropped; rows filtered.

use std::sync::Arc;

use trilobite_schema::{ColumnType, SemanticType};

use super::{
    evaluator::Evaluator,
    value::{Argument, Item, Typed, Value},
};
use crate::{
    error::{Position, Refused, quote},
    nearest::did_you_mean,
    plan::{Expression, NodeId, Operation, Relation, RelationColumn, Visibility},
};

impl Evaluator<'_> {
    /// A column, by one of its names.
    pub(super) fn column(&mut self, frame: NodeId, name: &str, at: Position) -> Result<Typed, Refused> {
        let column = self.find_column(frame, name, at)?;
        let physical = match column.visibility {
            Visibility::AliasOf(other) => other,
            _ => column.name,
        };
        let (kind, semantic) = (column.kind, column.semantic);
        Ok(Typed { expression: Expression::Column(physical).into(), kind, semantic, size: 1, depth: 1 })
    }

    fn find_column(&mut self, frame: NodeId, name: &str, at: Position) -> Result<RelationColumn, Refused> {
        let relation = self.relation(frame);
        if let Some(column) = relation.find(name) {
            return Ok(column.clone());
        }
        if self.refused_columns.contains(name) {
            return Err(Refused);
        }
        let advice = did_you_mean(name, relation.columns().iter().map(|column| &*column.name));
        let advice = if advice.is_empty() { columns_of(&relation) } else { advice };
        Err(self.refuse(at, format!("the DataFrame has no column {}{advice}", quote(name))))
    }

    /// The DataFrame in which this name is a column of the rows, and that column.
    pub(super) fn real_column(
        &mut self,
        frame: NodeId,
        name: &str,
        at: Position,
    ) -> Result<(NodeId, RelationColumn), Refused> {
        let column = self.find_column(frame, name, at)?;
        if !matches!(column.visibility, Visibility::AliasOf(_)) {
            return Ok((frame, column));
        }
        let typed = self.column(frame, name, at)?;
        let frame = self.map(frame, name, typed, at)?;
        Ok((frame, self.find_column(frame, name, at)?))
    }

    /// `df.name = value`
    pub(super) fn map(&mut self, frame: NodeId, name: &str, value: Typed, at: Position) -> Result<NodeId, Refused> {
        let column = self.checked_name(name, at)?;
        let relation = self.relation(frame);
        self.check_fits(&value, &relation, at)?;
        let relation = relation.assign(RelationColumn::listed(column.clone(), value.kind, value.semantic));
        self.add_node(at, Operation::Map { column, value: value.expression }, vec![frame], relation)
    }

    /// `df[condition]`
    pub(super) fn filter(&mut self, frame: NodeId, predicate: &Typed, at: Position) -> Result<Value, Refused> {
        if predicate.kind != ColumnType::Boolean {
            let message = format!("rows are kept by a BOOLEAN, not by {}", predicate.kind.name());
            return Err(self.refuse(at, message));
        }
        let relation = self.relation(frame);
        self.check_fits(predicate, &relation, at)?;
        let operation = Operation::Filter { predicate: predicate.expression.clone() };
        self.add_node(at, operation, vec![frame], relation).map(Value::Frame)
    }

    /// `df[['a', 'b']]`
    pub(super) fn keep(&mut self, frame: NodeId, names: Item, at: Position) -> Result<Value, Refused> {
        let names = self.column_names(&names, "what is kept")?;
        self.project(frame, names, at).map(Value::Frame)
    }

    pub(super) fn project(
        &mut self,
        mut frame: NodeId,
        names: Vec<(Arc<str>, Position)>,
        at: Position,
    ) -> Result<NodeId, Refused> {
        let mut kept: Vec<Arc<str>> = Vec::new();
        let mut refused = Ok(());
        for (name, position) in names {
            match self.real_column(frame, &name, position) {
                Ok((changed, _)) => frame = changed,
                Err(error) => refused = Err(error),
            }
            if kept.contains(&name) {
                refused = Err(self.refuse(position, format!("the column {} is kept twice", quote(&name))));
            }
            kept.push(name);
        }
        refused?;
        let columns = self.relation(frame).keep(&kept);
        let columns = columns
            .columns()
            .iter()
            .map(|column| RelationColumn::listed(column.name.clone(), column.kind, column.semantic));
        let relation = Relation::new(columns.collect());
        self.add_node(at, Operation::Project, vec![frame], relation)
    }

    /// `df.drop(..)`
    pub(super) fn drop_columns(
        &mut self,
        frame: NodeId,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        let [columns] = self.bind("drop", ["columns"], arguments)?;
        let columns = self.required(columns, "drop", "columns", at)?;
        let names = self.column_names(&columns, "what is dropped")?;
        for (name, position) in &names {
            self.find_column(frame, name, *position)?;
        }
        let is_dropped = |name: &Arc<str>| names.iter().any(|(dropped, _)| dropped == name);
        let stays = |column: &&RelationColumn| {
            !is_dropped(&column.name) && !matches!(&column.visibility, Visibility::AliasOf(of) if is_dropped(of))
        };
        let relation = Relation::new(self.relation(frame).columns().iter().filter(stays).cloned().collect());
        self.add_node(at, Operation::Project, vec![frame], relation).map(Value::Frame)
    }

    /// The value, with another meaning.
    pub(super) fn with_meaning(typed: Typed, semantic: SemanticType) -> Value {
        Value::Expression(Typed { semantic, ..typed })
    }
}

/// `; it has a, b, c`: at most ten.
fn columns_of(relation: &Relation) -> String {
    let names: Vec<&str> = relation.listed().map(|column| &*column.name).collect();
    match names.len() {
        0 => String::new(),
        1..=10 => format!("; it has {}", names.join(", ")),
        more => format!("; it has {} and {} more", names.get(..10).unwrap_or_default().join(", "), more - 10),
    }
}
