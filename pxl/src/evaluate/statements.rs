//! Statements.

use std::rc::Rc;

use super::{
    evaluator::Evaluator,
    value::{Module, Value},
};
use crate::{
    error::{Position, Refused, quote},
    lexer::tokenize,
    nearest::did_you_mean,
    parser::{
        PXTRACE,
        ast::{Expr, ExprKind, Statement, StatementKind},
        parse,
    },
};

/// Pixie's views, in our words.
const VIEWS: &str = include_str!("../views/pxviews.pxl");

impl Evaluator<'_> {
    /// Evaluates a script. What is refused is reported, and the rest evaluated for its own errors.
    pub(crate) fn execute_script(&mut self, statements: &[Statement]) {
        let _: Result<Option<Value>, Refused> = self.execute(statements);
    }

    /// Evaluates statements up to one that returns.
    pub(super) fn execute(&mut self, statements: &[Statement]) -> Result<Option<Value>, Refused> {
        for statement in statements {
            if self.is_over() {
                break;
            }
            if let StatementKind::Return(value) = &statement.kind {
                return value.as_ref().map_or(Ok(Some(Value::None)), |value| self.evaluate(value).map(Some));
            }
            self.execute_one(statement);
        }
        Ok(None)
    }

    fn execute_one(&mut self, statement: &Statement) {
        match &statement.kind {
            StatementKind::Import(module) => {
                let value = self.import(module, statement.position).unwrap_or(Value::Poison);
                self.define(module.clone(), value);
            }
            StatementKind::Define(definition) => {
                self.define(definition.name.clone(), Value::Defined(definition.clone(), Module::Script));
            }
            StatementKind::Assign { target, value } => self.assign(target, value),
            // Reported where it was refused.
            StatementKind::Expression(expression) => drop(self.evaluate(expression)),
            StatementKind::Return(_) => {}
        }
    }

    fn import(&mut self, module: &str, position: Position) -> Result<Value, Refused> {
        match module {
            "px" | "pl" => Ok(Value::Module(Module::Px)),
            "pxviews" => {
                self.read_views();
                Ok(Value::Module(Module::Views))
            }
            "pxtrace" => Err(self.refuse(position, PXTRACE)),
            "pxconfig" => {
                Err(self.refuse(position, "pxconfig is not supported; '#px:set' sets what an answer may have"))
            }
            _ => {
                let advice = did_you_mean(module, ["px", "pxviews"]);
                Err(self
                    .refuse(position, format!("there is no module {}: px and pxviews exist{advice}", quote(module))))
            }
        }
    }

    /// Defines the functions of pxviews.
    fn read_views(&mut self) {
        if !self.view_names.is_empty() {
            return;
        }
        let lexed = tokenize(VIEWS, self.errors);
        for statement in parse(lexed.tokens, self.errors) {
            let (name, value) = match statement.kind {
                StatementKind::Define(definition) => {
                    (definition.name.clone(), Value::Defined(definition, Module::Views))
                }
                StatementKind::Import(name) => (name, Value::Module(Module::Px)),
                _ => continue,
            };
            self.view_names.insert(name, value);
        }
    }

    fn assign(&mut self, target: &Expr, value: &Expr) {
        match &target.kind {
            ExprKind::Name(name) => {
                let value = self.evaluate(value).unwrap_or(Value::Poison);
                self.define(name.clone(), value);
            }
            ExprKind::Attribute { of, name, at } => self.assign_to_column(of, name, *at, value),
            ExprKind::Subscript { of, index } => match &index.kind {
                ExprKind::Text(name) => self.assign_to_column(of, name, index.position, value),
                _ => drop(self.refuse(index.position, "a column is assigned by its name: df['name'] = ..")),
            },
            _ => drop(self.refuse(target.position, "only a name or a column can be assigned to")),
        }
    }

    fn assign_to_column(&mut self, of: &Expr, column: &str, at: Position, value: &Expr) {
        if self.try_assign_to_column(of, column, at, value).is_err() {
            self.refused_columns.insert(column.into());
        }
    }

    fn try_assign_to_column(&mut self, of: &Expr, column: &str, at: Position, value: &Expr) -> Result<(), Refused> {
        let ExprKind::Name(variable) = &of.kind else {
            return Err(self.refuse(of.position, "a column is assigned to a variable that holds a DataFrame"));
        };
        let value = self.evaluate(value);
        let frame = match self.look_up(variable, of.position)? {
            Value::Frame(frame) => frame,
            other => {
                let message = format!("{} is {}: only a DataFrame has columns", quote(variable), other.describe());
                return Err(self.refuse(of.position, message));
            }
        };
        let value = value?;
        let Some(typed) = value.typed() else {
            return Err(self.refuse(at, format!("the column {} cannot be {}", quote(column), value.describe())));
        };
        let frame = self.map(frame, column, typed, at)?;
        self.define(Rc::clone(variable), Value::Frame(frame));
        Ok(())
    }
}
