//! Functions applied to columns and constants: overloads, meanings, limits.

use std::sync::Arc;

use trilobite_schema::{ColumnType, SemanticType};

use super::{
    evaluator::Evaluator,
    value::{Typed, Value},
};
use crate::{
    error::{Position, Refused},
    functions::{Function, find_function},
    limits::{EXPRESSION_DEPTH, EXPRESSION_SIZE, PLAN_PARTS},
    plan::{Expression, Relation, Visibility},
};

impl Evaluator<'_> {
    pub(super) fn apply_by_name(&mut self, name: &str, arguments: Vec<Typed>, at: Position) -> Result<Value, Refused> {
        match find_function(name) {
            Some(function) => self.apply(function, arguments, at).map(Value::Expression),
            None => Err(self.refuse(at, format!("px has no function '{name}'"))),
        }
    }

    /// Calls a function of rows.
    pub(super) fn apply(
        &mut self,
        function: &'static Function,
        arguments: Vec<Typed>,
        at: Position,
    ) -> Result<Typed, Refused> {
        let kinds: Vec<ColumnType> = arguments.iter().map(|argument| argument.kind).collect();
        let Some(overload) = function.overload(&kinds) else {
            return Err(self.wrong_types(function, &kinds, at));
        };
        let semantics: Vec<SemanticType> = arguments.iter().map(|argument| argument.semantic).collect();
        let (size, depth) = size_and_depth(arguments.iter());
        let arguments = arguments.into_iter().map(|argument| argument.expression).collect();
        let expression = Expression::Call { function, overload, arguments };
        self.typed(expression, overload.result, function.semantic.result(&semantics), size, depth, at)
    }

    /// An expression, if it is not too large.
    pub(super) fn typed(
        &mut self,
        expression: Expression,
        kind: ColumnType,
        semantic: SemanticType,
        size: u32,
        depth: u32,
        at: Position,
    ) -> Result<Typed, Refused> {
        if size > EXPRESSION_SIZE || depth > EXPRESSION_DEPTH {
            return Err(self.refuse(at, "the expression is too large: give its parts columns of their own"));
        }
        Ok(Typed { expression: Arc::new(expression), kind, semantic, size, depth })
    }

    pub(super) fn wrong_types(&mut self, function: &Function, kinds: &[ColumnType], at: Position) -> Refused {
        let given: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let (name, given, takes) = (function.name, given.join(", "), function.signatures());
        self.refuse(at, format!("px.{name} is not defined for ({given}): it is {takes}"))
    }

    /// The expression can be computed of these columns. It may have been made when the DataFrame had others.
    pub(super) fn check_fits(&mut self, typed: &Typed, relation: &Relation, at: Position) -> Result<(), Refused> {
        self.parts = self.parts.saturating_add(typed.size);
        if self.parts > PLAN_PARTS {
            return Err(self.stop(at, format!("the expressions of the script have more than {PLAN_PARTS} parts")));
        }
        let mut misfit = None;
        if kind_in(&typed.expression, relation, &mut misfit) == Some(typed.kind) {
            return Ok(());
        }
        let column = misfit.unwrap_or_else(|| "a column".into());
        if self.refused_columns.contains(&column) {
            return Err(Refused);
        }
        Err(self.refuse(at, format!("the DataFrame has no column '{column}' of the type that this was made with")))
    }
}

/// Size and depth of an expression around these.
pub(super) fn size_and_depth<'a>(arguments: impl Iterator<Item = &'a Typed>) -> (u32, u32) {
    arguments
        .fold((1, 1), |(size, depth), argument| (size.saturating_add(argument.size), depth.max(argument.depth + 1)))
}

/// The type of an expression of these columns; none if it cannot be computed of them.
fn kind_in(expression: &Expression, relation: &Relation, misfit: &mut Option<Arc<str>>) -> Option<ColumnType> {
    match expression {
        Expression::Column(name) => {
            let column = relation.find(name).filter(|column| !matches!(column.visibility, Visibility::AliasOf(_)));
            if column.is_none() {
                *misfit = Some(name.clone());
            }
            column.map(|column| column.kind)
        }
        Expression::Literal(literal) => Some(literal.kind()),
        Expression::Call { overload, arguments, .. } => {
            for (argument, taken) in arguments.iter().zip(overload.arguments) {
                let kind = kind_in(argument, relation, misfit)?;
                if kind != *taken && (kind, *taken) != (ColumnType::Int64, ColumnType::Float64) {
                    argument.for_each_column(&mut |name| *misfit = Some(name.clone()));
                    return None;
                }
            }
            Some(overload.result)
        }
        Expression::ScriptReference { label, script, arguments } => {
            for part in [label, script].into_iter().chain(arguments.iter().map(|(_, argument)| argument)) {
                kind_in(part, relation, misfit)?;
            }
            Some(ColumnType::String)
        }
    }
}
