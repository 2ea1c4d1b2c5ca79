//! Arguments of a call: by position and by name, and of the type that is wanted.

use std::{rc::Rc, sync::Arc};

use super::{
    evaluator::Evaluator,
    value::{Argument, Item, Typed, Value},
};
use crate::{
    error::{Position, Refused, quote},
    nearest::did_you_mean,
    plan::{Expression, NodeId},
};

impl Evaluator<'_> {
    /// The arguments in the order of their parameters.
    pub(super) fn bind<const N: usize>(
        &mut self,
        function: &str,
        parameters: [&str; N],
        arguments: Vec<Argument>,
    ) -> Result<[Option<Item>; N], Refused> {
        let mut bound = [const { None }; N];
        let mut refused = Ok(());
        for (index, Argument { name, position, item }) in arguments.into_iter().enumerate() {
            let (slot, shown) = match &name {
                None => (Some(index).filter(|index| *index < N), String::new()),
                Some(name) => (parameters.iter().position(|parameter| *parameter == &**name), quote(name)),
            };
            match slot.and_then(|slot| bound.get_mut(slot)) {
                Some(slot) if slot.is_none() => *slot = Some(item),
                Some(_) => refused = Err(self.refuse(position, format!("{function} gets {shown} twice"))),
                None => {
                    let message = match &name {
                        Some(name) => {
                            format!("{function} has no argument {shown}{}", did_you_mean(name, parameters))
                        }
                        None if N == 0 => format!("{function} takes no arguments"),
                        None => format!("{function} takes {N} arguments: {}", parameters.join(", ")),
                    };
                    refused = Err(self.refuse(position, message));
                }
            }
        }
        refused.map(|()| bound)
    }

    pub(super) fn required(
        &mut self,
        item: Option<Item>,
        function: &str,
        name: &str,
        at: Position,
    ) -> Result<Item, Refused> {
        item.ok_or_else(|| self.refuse(at, format!("{function} needs the argument '{name}'")))
    }

    pub(super) fn text(&mut self, item: &Item, what: &str) -> Result<Rc<str>, Refused> {
        match &item.value {
            Value::Text(text) => Ok(text.clone()),
            other => Err(self.refuse(item.position, format!("{what} is a string, not {}", other.describe()))),
        }
    }

    pub(super) fn integer(&mut self, item: &Item, what: &str) -> Result<i64, Refused> {
        match &item.value {
            Value::Integer(number) => Ok(*number),
            other => Err(self.refuse(item.position, format!("{what} is a whole number, not {}", other.describe()))),
        }
    }

    pub(super) fn truth(&mut self, item: &Item, what: &str) -> Result<bool, Refused> {
        match &item.value {
            Value::Truth(truth) => Ok(*truth),
            other => Err(self.refuse(item.position, format!("{what} is True or False, not {}", other.describe()))),
        }
    }

    pub(super) fn frame(&mut self, item: &Item, what: &str) -> Result<NodeId, Refused> {
        match &item.value {
            Value::Frame(frame) => Ok(*frame),
            other => Err(self.refuse(item.position, format!("{what} is a DataFrame, not {}", other.describe()))),
        }
    }

    pub(super) fn row_value(&mut self, item: &Item, what: &str) -> Result<Typed, Refused> {
        match item.value.typed() {
            Some(typed) => Ok(typed),
            None => {
                Err(self
                    .refuse(item.position, format!("{what} is a column or a constant, not {}", item.value.describe())))
            }
        }
    }

    /// Names of columns: one, or a list of them; each as a string or as df.name.
    pub(super) fn column_names(&mut self, item: &Item, what: &str) -> Result<Vec<(Arc<str>, Position)>, Refused> {
        match &item.value {
            Value::List(items) | Value::Tuple(items) => items.iter().map(|item| self.column_name(item, what)).collect(),
            _ => self.column_name(item, what).map(|name| vec![name]),
        }
    }

    pub(super) fn column_name(&mut self, item: &Item, what: &str) -> Result<(Arc<str>, Position), Refused> {
        match &item.value {
            Value::Text(name) => return Ok(((**name).into(), item.position)),
            Value::Expression(typed) => {
                if let Expression::Column(name) = &*typed.expression {
                    return Ok((name.clone(), item.position));
                }
            }
            _ => {}
        }
        Err(self.refuse(item.position, format!("{what} is the name of a column, not {}", item.value.describe())))
    }
}
