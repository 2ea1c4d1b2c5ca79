//! Functions that scripts define: called by the script, and by a client with arguments as text.

use std::{collections::HashMap, rc::Rc};

use super::{
    evaluator::Evaluator,
    px::CASTS,
    value::{Argument, Item, Module, Value},
};
use crate::{
    error::{Position, Refused, quote},
    nearest::did_you_mean,
    parser::ast::{Definition, Expr, ExprKind, Parameter},
    request::FunctionCall,
};

impl Evaluator<'_> {
    pub(super) fn call_defined(
        &mut self,
        definition: &Definition,
        module: Module,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        let mut values: HashMap<Rc<str>, Value> = HashMap::new();
        for (index, Argument { name, position, item }) in arguments.into_iter().enumerate() {
            let parameter = match &name {
                Some(name) => definition.parameters.iter().find(|parameter| parameter.name == *name),
                None => definition.parameters.get(index),
            };
            let function = &definition.name;
            let Some(parameter) = parameter else {
                let known = definition.parameters.iter().map(|parameter| &*parameter.name);
                let message = match &name {
                    Some(name) => format!("{function} has no argument {}{}", quote(name), did_you_mean(name, known)),
                    None => format!("{function} takes {} arguments", definition.parameters.len()),
                };
                return Err(self.refuse(position, message));
            };
            if values.insert(parameter.name.clone(), item.value).is_some() {
                return Err(self.refuse(position, format!("{function} gets {} twice", quote(&parameter.name))));
            }
        }
        for parameter in &definition.parameters {
            if values.contains_key(&parameter.name) {
                continue;
            }
            let Some(default) = &parameter.default else {
                let message = format!("{} needs the argument {}", definition.name, quote(&parameter.name));
                return Err(self.refuse(at, message));
            };
            values.insert(parameter.name.clone(), self.evaluate(default)?);
        }
        self.enter_function(definition, module, values, at)
    }

    fn enter_function(
        &mut self,
        definition: &Definition,
        module: Module,
        values: HashMap<Rc<str>, Value>,
        at: Position,
    ) -> Result<Value, Refused> {
        self.enter(at)?;
        let enters_module = module == Module::Views && self.call_site.is_none();
        if enters_module {
            self.call_site = Some((at, format!("pxviews.{}", definition.name)));
        }
        self.calls.push((module, values));
        let returned = self.execute(&definition.body);
        self.calls.pop();
        if enters_module {
            self.call_site = None;
        }
        self.leave();
        match returned? {
            Some(Value::Poison) => Err(Refused),
            Some(value) => Ok(value),
            None if self.is_over() => Err(Refused),
            None => Ok(Value::None),
        }
    }

    /// Calls a function as a client asks for it, and displays the DataFrames that it returns.
    pub(crate) fn call_by_client(&mut self, call: &FunctionCall<'_>) -> Result<(), Refused> {
        let definition = match self.script_names.get(call.function) {
            Some(Value::Defined(definition, Module::Script)) => definition.clone(),
            Some(Value::Poison) => return Err(Refused),
            _ => {
                let functions = self.script_names.iter().filter(|(_, value)| matches!(value, Value::Defined(..)));
                let advice = did_you_mean(call.function, functions.map(|(name, _)| &**name));
                let message = format!("the script has no function {}{advice}", quote(call.function));
                return Err(self.refuse(Position::START, message));
            }
        };
        let at = definition.position;
        let mut arguments = Vec::new();
        for (name, text) in call.arguments {
            let Some(parameter) = definition.parameters.iter().find(|parameter| *parameter.name == **name) else {
                let known = definition.parameters.iter().map(|parameter| &*parameter.name);
                let advice = did_you_mean(name, known);
                let message = format!("{} has no argument {}{advice}", definition.name, quote(name));
                return Err(self.refuse(at, message));
            };
            let value = self.argument_of_text(parameter, text)?;
            let item = Item { value, position: parameter.position };
            arguments.push(Argument { name: Some(parameter.name.clone()), position: parameter.position, item });
        }
        let returned = self.call_defined(&definition, Module::Script, arguments, at)?;
        match returned {
            Value::Frame(frame) => self.add_output(call.output.to_owned(), frame, at),
            Value::Tuple(items) | Value::List(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    let frame = self.frame(item, &format!("what {} returns", definition.name))?;
                    self.add_output(format!("{}[{index}]", call.output), frame, at)?;
                }
                Ok(())
            }
            other => {
                let message = format!("{} returns {}, and no DataFrame", definition.name, other.describe());
                Err(self.refuse(at, message))
            }
        }
    }

    /// An argument that a client gives as text, of the type that the function declares.
    fn argument_of_text(&mut self, parameter: &Parameter, text: &str) -> Result<Value, Refused> {
        let kind = parameter.annotation.as_ref().map_or("str", annotated_type);
        let value = match kind {
            "int" => text.trim().parse().ok().map(Value::Integer),
            "float" => text.trim().parse().ok().map(Value::Float),
            "bool" => match text.trim() {
                "true" | "True" | "1" => Some(Value::Truth(true)),
                "false" | "False" | "0" => Some(Value::Truth(false)),
                _ => None,
            },
            "Bytes" | "DurationNanos" => text.trim().parse().ok().map(Value::Integer),
            "Percent" => text.trim().parse().ok().map(Value::Float),
            "Time" => super::times::parse_time(text, self.now).map(Value::Time),
            "DataFrame" => None,
            _ => Some(Value::Text(text.into())),
        };
        value.ok_or_else(|| {
            let message = format!("the argument {} is of type {kind}, unlike {}", quote(&parameter.name), quote(text));
            self.refuse(parameter.position, message)
        })
    }
}

/// The name of the type that a parameter declares: `str` where it is none that is known.
fn annotated_type(annotation: &Expr) -> &'static str {
    let name = match &annotation.kind {
        ExprKind::Name(name) | ExprKind::Attribute { name, .. } => &**name,
        _ => return "str",
    };
    let known = ["int", "float", "bool", "DataFrame"].into_iter().chain(CASTS.iter().map(|cast| cast.name));
    known.into_iter().find(|known| *known == name).unwrap_or("str")
}
