//! A plan as text, for people and for tests.

use std::fmt;

use super::{JoinSide, Node, NodeId, Operation, Plan, RelationColumn, TimeRange};
use trilobite_schema::SemanticType;

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start, self.end) {
            (None, None) => f.write_str("all time"),
            (Some(start), None) => write!(f, "from {start}"),
            (None, Some(end)) => write!(f, "until {end}"),
            (Some(start), Some(end)) => write!(f, "from {start} until {end}"),
        }
    }
}

impl fmt::Display for RelationColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind.name())?;
        match self.semantic {
            SemanticType::None => Ok(()),
            semantic => write!(f, "/{}", semantic.name()),
        }
    }
}

fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn write_operation(f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
    match &node.operation {
        Operation::Scan { table, range } => write!(f, "scan {table} {range}"),
        Operation::Generate { generator, arguments } => {
            let arguments = arguments.iter().map(|(name, value)| format!("{name}={value}"));
            write!(f, "generate {}({})", generator.name, joined(arguments))
        }
        Operation::Map { column, value } => write!(f, "map {column} = {value}"),
        Operation::Filter { predicate } => write!(f, "filter {predicate}"),
        Operation::Project => {
            write!(f, "project {}", joined(node.relation.columns().iter().map(|column| &column.name)))
        }
        Operation::Aggregate { groups, aggregates } => {
            let aggregates = aggregates.iter().map(|aggregate| {
                format!("{} = {}({})", aggregate.column, aggregate.function.name, joined(&aggregate.arguments))
            });
            write!(f, "aggregate by [{}] {}", joined(groups), joined(aggregates))
        }
        Operation::Join { how, on, columns } => {
            let on = on.iter().map(|(left, right)| format!("{left} = {right}"));
            let columns = columns.iter().map(|(side, name)| match side {
                JoinSide::Left => format!("left.{name}"),
                JoinSide::Right => format!("right.{name}"),
            });
            write!(f, "join {} on [{}] of {}", how.name(), joined(on), joined(columns))
        }
        Operation::Union { by_time: true } => f.write_str("union by time_"),
        Operation::Union { by_time: false } => f.write_str("union"),
        Operation::Limit { rows } => write!(f, "limit {rows}"),
        Operation::Sort { by } => {
            let by = by.iter().map(|(name, ascending)| format!("{name} {}", if *ascending { "asc" } else { "desc" }));
            write!(f, "sort {}", joined(by))
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            write!(f, "{}", NodeId(index))?;
            if !node.inputs.is_empty() {
                write!(f, " <- {}", joined(&node.inputs))?;
            }
            f.write_str(": ")?;
            write_operation(f, node)?;
            writeln!(f)?;
        }
        for output in &self.outputs {
            let columns = joined(self.output_columns(output));
            writeln!(f, "output {:?} <- {}: {columns}", output.name, output.node)?;
        }
        if self.settings.max_output_rows_per_table != super::Settings::default().max_output_rows_per_table {
            writeln!(f, "at most {} rows of each", self.settings.max_output_rows_per_table)?;
        }
        Ok(())
    }
}
