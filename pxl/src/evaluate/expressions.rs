//! Expressions of a script.

use std::rc::Rc;

use super::{
    evaluator::Evaluator,
    value::{Argument, Item, Method, Module, Value},
};
use crate::{
    error::{Position, Refused, quote},
    nearest::did_you_mean,
    parser::ast::{self, Expr, ExprKind},
    plan::NodeId,
};

const METHODS: [(&str, Method); 7] = [
    ("agg", Method::Aggregate),
    ("append", Method::Append),
    ("drop", Method::Drop),
    ("groupby", Method::GroupBy),
    ("head", Method::Head),
    ("merge", Method::Merge),
    ("sort", Method::Sort),
];

impl Evaluator<'_> {
    pub(super) fn evaluate(&mut self, expression: &Expr) -> Result<Value, Refused> {
        self.enter(expression.position)?;
        let value = self.evaluate_kind(expression);
        self.leave();
        value
    }

    fn evaluate_kind(&mut self, expression: &Expr) -> Result<Value, Refused> {
        let position = expression.position;
        match &expression.kind {
            ExprKind::None => Ok(Value::None),
            ExprKind::Truth(truth) => Ok(Value::Truth(*truth)),
            ExprKind::Integer(number) => Ok(Value::Integer(*number)),
            ExprKind::Float(number) => Ok(Value::Float(*number)),
            ExprKind::Text(text) => Ok(Value::Text(text.clone())),
            ExprKind::Name(name) => self.look_up(name, position),
            ExprKind::List(items) => Ok(Value::List(self.items(items)?)),
            ExprKind::Tuple(items) => Ok(Value::Tuple(self.items(items)?)),
            ExprKind::Dict(entries) => self.dict(entries),
            ExprKind::Attribute { of, name, at } => {
                let of = self.evaluate(of)?;
                self.attribute(of, name, *at)
            }
            ExprKind::Subscript { of, index } => {
                let (of, at) = (self.evaluate(of)?, index.position);
                let index = self.evaluate(index)?;
                self.subscript(of, Item { value: index, position: at }, position)
            }
            ExprKind::Call { function, arguments } => self.evaluate_call(function, arguments),
            ExprKind::Unary { operator, operand } => {
                let operand = self.evaluate(operand)?;
                self.unary(*operator, operand, position)
            }
            ExprKind::Binary { operator, at, left, right } => {
                let (left, right) = (self.evaluate(left), self.evaluate(right));
                self.binary(*operator, left?, right?, *at)
            }
        }
    }

    fn items(&mut self, items: &[Expr]) -> Result<Rc<[Item]>, Refused> {
        items.iter().map(|item| self.item(item)).collect()
    }

    fn item(&mut self, expression: &Expr) -> Result<Item, Refused> {
        Ok(Item { value: self.evaluate(expression)?, position: expression.position })
    }

    fn dict(&mut self, entries: &[(Expr, Expr)]) -> Result<Value, Refused> {
        let entries: Result<Rc<[_]>, _> =
            entries.iter().map(|(key, value)| Ok((self.item(key)?, self.item(value)?))).collect();
        entries.map(Value::Dict)
    }

    fn evaluate_call(&mut self, function: &Expr, arguments: &[ast::Argument]) -> Result<Value, Refused> {
        let callee = self.evaluate(function);
        // Arguments are evaluated also where the function is wrong, so that their errors are found too.
        let mut evaluated = Vec::with_capacity(arguments.len());
        let mut refused = None;
        for ast::Argument { name, position, value } in arguments {
            let value_at = value.position;
            match self.evaluate(value) {
                Ok(value) => {
                    let item = Item { value, position: value_at };
                    evaluated.push(Argument { name: name.clone(), position: *position, item });
                }
                Err(Refused) => refused = Some(Refused),
            }
        }
        let at = match &function.kind {
            ExprKind::Attribute { at, .. } => *at,
            _ => function.position,
        };
        match refused {
            Some(refused) => Err(refused),
            None => self.call(callee?, evaluated, at),
        }
    }

    fn call(&mut self, callee: Value, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        match callee {
            Value::Builtin(builtin) => self.call_builtin(builtin, arguments, at),
            Value::Method(frame, method) => self.call_method(frame, method, arguments, at),
            Value::GroupedAggregate(frame, groups) => self.aggregate(frame, &groups, arguments, at),
            Value::Defined(definition, module) => self.call_defined(&definition, module, arguments, at),
            other => Err(self.refuse(at, format!("{} cannot be called", other.describe()))),
        }
    }

    fn call_method(
        &mut self,
        frame: NodeId,
        method: Method,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        match method {
            Method::Aggregate => self.aggregate(frame, &[], arguments, at),
            Method::Append => self.append(frame, arguments, at),
            Method::Drop => self.drop_columns(frame, arguments, at),
            Method::GroupBy => self.group_by(frame, arguments, at),
            Method::Head => self.head(frame, arguments, at),
            Method::Merge => self.merge(frame, arguments, at),
            Method::Sort => self.sort(frame, arguments, at),
        }
    }

    fn attribute(&mut self, of: Value, name: &str, at: Position) -> Result<Value, Refused> {
        match of {
            Value::Module(Module::Px) => self.px_attribute(name, at),
            Value::Module(_) => self.view(name, at),
            Value::Frame(frame) if name == "ctx" => Ok(Value::Context(frame)),
            Value::Frame(frame) => match METHODS.into_iter().find(|(method, _)| *method == name) {
                Some((_, method)) => Ok(Value::Method(frame, method)),
                None => self.column_or_advice(frame, name, at),
            },
            Value::Groups(frame, groups) if name == "agg" => Ok(Value::GroupedAggregate(frame, groups)),
            other => Err(self.refuse(at, format!("{} has no {}", other.describe(), quote(name)))),
        }
    }

    fn column_or_advice(&mut self, frame: NodeId, name: &str, at: Position) -> Result<Value, Refused> {
        let advice = match name {
            _ if self.relation(frame).find(name).is_some() => {
                return self.column(frame, name, at).map(Value::Expression);
            }
            "stream" => "streams are not supported: '--watch' asks again",
            "rolling" => "rolling windows are not supported: group by px.bin(df.time_, window)",
            _ => return self.column(frame, name, at).map(Value::Expression),
        };
        Err(self.refuse(at, advice))
    }

    fn view(&mut self, name: &str, at: Position) -> Result<Value, Refused> {
        if let Some(view) = self.view_names.get(name).filter(|_| !name.starts_with('_')) {
            return Ok(view.clone());
        }
        let public = self.view_names.keys().map(|view| &**view).filter(|view| !view.starts_with('_') && *view != "px");
        let advice = did_you_mean(name, public);
        Err(self.refuse(at, format!("pxviews has no function {}{advice}", quote(name))))
    }

    fn subscript(&mut self, of: Value, index: Item, position: Position) -> Result<Value, Refused> {
        match (of, index.value) {
            (Value::Frame(frame), Value::Text(name)) => {
                self.column(frame, &name, index.position).map(Value::Expression)
            }
            (Value::Frame(frame), Value::Expression(predicate)) => self.filter(frame, &predicate, index.position),
            (Value::Frame(frame), value @ Value::List(_)) => {
                self.keep(frame, Item { value, position: index.position }, position)
            }
            (Value::Frame(_), other) => Err(self.refuse(
                index.position,
                format!(
                    "a DataFrame is indexed by a condition, a name or a list of names, not by {}",
                    other.describe()
                ),
            )),
            (Value::Context(frame), Value::Text(name)) => self.metadata(frame, &name, index.position),
            (Value::Context(_), other) => {
                Err(self.refuse(index.position, format!("ctx is indexed by a name, not by {}", other.describe())))
            }
            (other, _) => Err(self.refuse(position, format!("{} cannot be indexed", other.describe()))),
        }
    }
}
