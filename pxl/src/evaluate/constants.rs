//! Functions of `px` that are computed before any row is read: times, durations, ids, links to scripts.

use std::sync::Arc;

use trilobite_schema::{ColumnType, SemanticType};

use super::{
    apply::size_and_depth,
    evaluator::Evaluator,
    times::{format_duration, parse_duration, parse_time_by_format},
    value::{Argument, Constant, Item, Typed, Value},
};
use crate::{
    error::{Position, Refused, quote},
    plan::{Expression, Literal},
};

impl Evaluator<'_> {
    pub(super) fn constant(
        &mut self,
        constant: Constant,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        match constant {
            Constant::Now => {
                let [] = self.bind("px.now", [], arguments)?;
                Ok(Value::Time(self.now))
            }
            Constant::ParseTime => {
                let [time] = self.bind("px.parse_time", ["time"], arguments)?;
                let time = self.required(time, "px.parse_time", "time", at)?;
                self.instant(&time, "the time").map(Value::Time)
            }
            Constant::ParseDuration => {
                let [duration] = self.bind("px.parse_duration", ["duration"], arguments)?;
                let duration = self.required(duration, "px.parse_duration", "duration", at)?;
                let text = self.text(&duration, "the duration")?;
                let parsed = parse_duration(&text).map(Value::Integer);
                parsed.ok_or_else(|| {
                    self.refuse(duration.position, format!("a duration is e.g. '-5m', not {}", quote(&text)))
                })
            }
            Constant::FormatDuration => {
                let [duration] = self.bind("px.format_duration", ["duration"], arguments)?;
                let duration = self.required(duration, "px.format_duration", "duration", at)?;
                Ok(Value::Text(format_duration(self.integer(&duration, "the duration")?).into()))
            }
            Constant::ParseTimeByFormat => {
                let [time, format] = self.bind("px.strptime", ["date_string", "format"], arguments)?;
                let time = self.required(time, "px.strptime", "date_string", at)?;
                let format = self.required(format, "px.strptime", "format", at)?;
                let (text, format) = (self.text(&time, "the time")?, self.text(&format, "the format")?);
                let parsed = parse_time_by_format(&text, &format).map(Value::Time);
                let message = || format!("{} is no time of the format {}", quote(&text), quote(&format));
                parsed.ok_or_else(|| self.refuse(time.position, message()))
            }
            Constant::UInt128 => {
                let [number] = self.bind("px.uint128", ["uuid"], arguments)?;
                let number = self.required(number, "px.uint128", "uuid", at)?;
                let text = self.text(&number, "the number")?;
                let digits: String = text.chars().filter(|character| *character != '-').collect();
                let parsed = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
                match parsed {
                    Some(number) => Ok(Value::Expression(Typed::literal(Literal::UInt128(number)))),
                    None => {
                        let message = format!("a number of 128 bits is a UUID of 32 digits, not {}", quote(&text));
                        Err(self.refuse(number.position, message))
                    }
                }
            }
            Constant::MakeUpid => self.make_upid(arguments, at),
        }
    }

    /// `px.make_upid(asid, pid, start)`: asid and pid in the upper half.
    fn make_upid(&mut self, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let parameters = ["asid", "pid", "ts_ns"];
        let items = self.bind("px.make_upid", parameters, arguments)?;
        let mut parts = [0_u128; 3];
        for ((item, name), part) in items.into_iter().zip(parameters).zip(&mut parts) {
            let item = self.required(item, "px.make_upid", name, at)?;
            let number = self.integer(&item, name)?;
            let fits = if name == "ts_ns" { number >= 0 } else { u32::try_from(number).is_ok() };
            *part = match u128::try_from(number) {
                Ok(number) if fits => number,
                _ => return Err(self.refuse(item.position, format!("{name} is out of range"))),
            };
        }
        let [asid, pid, start] = parts;
        let upid = Typed::literal(Literal::UInt128(asid << 96 | pid << 64 | start));
        Ok(Self::with_meaning(upid, SemanticType::Upid))
    }

    /// `px.minutes(5)`
    pub(super) fn duration(
        &mut self,
        nanoseconds: i64,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        let [unit] = self.bind("a duration", ["unit"], arguments)?;
        let unit = self.required(unit, "a duration", "unit", at)?;
        let number = self.integer(&unit, "a number of units")?.checked_mul(nanoseconds);
        number.map(Value::Integer).ok_or_else(|| self.refuse(at, "the duration does not fit into 64 bits"))
    }

    /// `px.script_reference(label, script, args)`
    pub(super) fn script_reference(&mut self, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let function = "px.script_reference";
        let [label, script, args] = self.bind(function, ["label", "script", "args"], arguments)?;
        let label = self.required(label, function, "label", at)?;
        let label = self.text_of_row(&label, "the label")?;
        let script = self.required(script, function, "script", at)?;
        let script = self.text_of_row(&script, "the script")?;
        let mut parts = vec![label.clone(), script.clone()];
        let mut named: Vec<(Arc<str>, Arc<Expression>)> = Vec::new();
        if let Some(Item { value, position }) = args {
            let Value::Dict(entries) = &value else {
                return Err(self.refuse(position, format!("args is a dict, not {}", value.describe())));
            };
            for (key, value) in entries.iter() {
                let name = self.text(key, "the name of an argument")?;
                let value = self.row_value(value, "an argument of a script")?;
                named.push(((*name).into(), value.expression.clone()));
                parts.push(value);
            }
        }
        let (size, depth) = size_and_depth(parts.iter());
        let expression =
            Expression::ScriptReference { label: label.expression, script: script.expression, arguments: named };
        let semantic = SemanticType::ScriptReference;
        self.typed(expression, ColumnType::String, semantic, size, depth, at).map(Value::Expression)
    }

    fn text_of_row(&mut self, item: &Item, what: &str) -> Result<Typed, Refused> {
        let typed = self.row_value(item, what)?;
        if typed.kind == ColumnType::String {
            return Ok(typed);
        }
        Err(self.refuse(item.position, format!("{what} is a STRING, not {}", typed.kind.name())))
    }
}
