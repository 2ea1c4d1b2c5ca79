//! `groupby` and `agg`.

use std::{rc::Rc, sync::Arc};

use trilobite_schema::{ColumnType, SemanticType};

use super::{
    evaluator::Evaluator,
    value::{Argument, Builtin, Item, Value},
};
use crate::{
    error::{Position, Refused, quote},
    functions::{Function, FunctionKind},
    plan::{Aggregate, NodeId, Operation, Relation, RelationColumn},
};

impl Evaluator<'_> {
    /// `df.groupby(..)`
    pub(super) fn group_by(&mut self, frame: NodeId, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let [by] = self.bind("groupby", ["by"], arguments)?;
        let by = self.required(by, "groupby", "by", at)?;
        let names = self.column_names(&by, "what groups have in common")?;
        Ok(Value::Groups(frame, Rc::from(names)))
    }

    /// `.agg(name=('column', function), ..)`
    pub(super) fn aggregate(
        &mut self,
        mut frame: NodeId,
        groups: &[(Arc<str>, Position)],
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        let mut columns: Vec<RelationColumn> = Vec::new();
        let mut refused = Ok(());
        for (name, position) in groups {
            if columns.iter().any(|column| column.name == *name) {
                refused = Err(self.refuse(*position, format!("the column {} groups twice", quote(name))));
                continue;
            }
            match self.real_column(frame, name, *position) {
                Ok((changed, column)) => {
                    frame = changed;
                    columns.push(RelationColumn::listed(column.name, column.kind, column.semantic));
                }
                Err(error) => refused = Err(error),
            }
        }
        let mut aggregates = Vec::new();
        for Argument { name, position, item } in arguments {
            let Some(name) = name else {
                refused = Err(self.refuse(position, "agg takes name=('column', function)"));
                continue;
            };
            match self.one_aggregate(&mut frame, &name, &item) {
                Ok((column, _)) if columns.iter().any(|other| other.name == column.name) => {
                    refused = Err(self.refuse(position, format!("the column {} is made twice", quote(&name))));
                }
                Ok((column, aggregate)) => {
                    columns.push(column);
                    aggregates.push(aggregate);
                }
                Err(error) => {
                    self.refused_columns.insert((*name).into());
                    refused = Err(error);
                }
            }
        }
        refused?;
        let groups = groups.iter().map(|(name, _)| name.clone()).collect();
        let operation = Operation::Aggregate { groups, aggregates };
        self.add_node(at, operation, vec![frame], Relation::new(columns)).map(Value::Frame)
    }

    fn one_aggregate(
        &mut self,
        frame: &mut NodeId,
        name: &str,
        item: &Item,
    ) -> Result<(RelationColumn, Aggregate), Refused> {
        let Value::Tuple(parts) = &item.value else {
            let message = format!("agg takes {name}=('column', function), not {}", item.value.describe());
            return Err(self.refuse(item.position, message));
        };
        let (function, names) = match &**parts {
            [names @ .., function] if !names.is_empty() => (self.aggregate_function(function)?, names),
            _ => return Err(self.refuse(item.position, format!("agg takes {name}=('column', function)"))),
        };
        let (mut kinds, mut semantics, mut arguments) =
            (Vec::<ColumnType>::new(), Vec::<SemanticType>::new(), Vec::new());
        for part in names {
            let (column, position) = self.column_name(part, "what is aggregated")?;
            let (changed, column) = self.real_column(*frame, &column, position)?;
            *frame = changed;
            kinds.push(column.kind);
            semantics.push(column.semantic);
            arguments.push(column.name);
        }
        let Some(overload) = function.overload(&kinds) else {
            return Err(self.wrong_types(function, &kinds, item.position));
        };
        let column = self.checked_name(name, item.position)?;
        let semantic = function.semantic.result(&semantics);
        let made = RelationColumn::listed(column.clone(), overload.result, semantic);
        Ok((made, Aggregate { column, function, overload, arguments }))
    }

    fn aggregate_function(&mut self, item: &Item) -> Result<&'static Function, Refused> {
        match &item.value {
            Value::Builtin(Builtin::Function(function)) if function.kind == FunctionKind::Aggregate => Ok(function),
            Value::Builtin(Builtin::Function(function)) => {
                let message =
                    format!("px.{} makes a value of a row; agg needs one of a group, e.g. px.count", function.name);
                Err(self.refuse(item.position, message))
            }
            other => {
                let message = format!("agg needs a function of a group, e.g. px.count, not {}", other.describe());
                Err(self.refuse(item.position, message))
            }
        }
    }
}
