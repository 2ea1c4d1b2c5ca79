//! The names of `px`.

use trilobite_schema::{
    ColumnType::{self, Float64, Int64, String, Time64Ns, UInt128},
    SemanticType,
};

use super::{
    evaluator::Evaluator,
    value::{Argument, Builtin, Cast, Constant, Item, Typed, Value},
};
use crate::{
    error::{Position, Refused, quote},
    functions::{Function, FunctionKind, GENERATORS, find_function, find_generator, functions},
    nearest::did_you_mean,
};

const TEXT: &[ColumnType] = &[String];
const NUMBER: &[ColumnType] = &[Int64, Float64];

const fn cast(name: &'static str, semantic: SemanticType, kinds: &'static [ColumnType]) -> Cast {
    Cast { name, semantic, kinds }
}

/// Types that say what values mean.
pub(super) static CASTS: [Cast; 10] = [
    cast("Bytes", SemanticType::Bytes, NUMBER),
    cast("Container", SemanticType::ContainerName, TEXT),
    cast("DurationNanos", SemanticType::DurationNs, NUMBER),
    cast("Namespace", SemanticType::NamespaceName, TEXT),
    cast("Node", SemanticType::NodeName, TEXT),
    cast("Percent", SemanticType::Percent, NUMBER),
    cast("Pod", SemanticType::PodName, TEXT),
    cast("Service", SemanticType::ServiceName, TEXT),
    cast("Time", SemanticType::TimeNs, &[Time64Ns, Int64]),
    cast("UPID", SemanticType::Upid, &[UInt128]),
];

/// What else `px` has.
const OTHERS: [(&str, Builtin); 19] = [
    ("DataFrame", Builtin::DataFrame),
    ("days", Builtin::Unit(86_400_000_000_000)),
    ("debug", Builtin::Debug),
    ("display", Builtin::Display),
    ("equals_any", Builtin::EqualsAny),
    ("format_duration", Builtin::Constant(Constant::FormatDuration)),
    ("hours", Builtin::Unit(3_600_000_000_000)),
    ("make_upid", Builtin::Constant(Constant::MakeUpid)),
    ("microseconds", Builtin::Unit(1_000)),
    ("milliseconds", Builtin::Unit(1_000_000)),
    ("minutes", Builtin::Unit(60_000_000_000)),
    ("nanoseconds", Builtin::Unit(1)),
    ("now", Builtin::Constant(Constant::Now)),
    ("parse_duration", Builtin::Constant(Constant::ParseDuration)),
    ("parse_time", Builtin::Constant(Constant::ParseTime)),
    ("script_reference", Builtin::ScriptReference),
    ("seconds", Builtin::Unit(1_000_000_000)),
    ("strptime", Builtin::Constant(Constant::ParseTimeByFormat)),
    ("uint128", Builtin::Constant(Constant::UInt128)),
];

/// What Pixie's `px` has and ours does not.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("export", "px.export is not supported: rows are displayed"),
    ("otel", "px.otel is not supported: rows are displayed"),
    ("vis", "px.vis is not supported: rows are displayed as tables"),
    ("plugin", "px.plugin is not supported: give start_time and end_time as arguments"),
    ("GetCronScriptHistory", "px.GetCronScriptHistory is not supported: no scripts run by time"),
    ("pprof", "px.pprof is not supported: the read API serves profiles as pprof"),
];

impl Evaluator<'_> {
    pub(super) fn px_attribute(&mut self, name: &str, at: Position) -> Result<Value, Refused> {
        let other = || OTHERS.into_iter().find(|(known, _)| *known == name).map(|(_, builtin)| builtin);
        let cast = || CASTS.iter().find(|cast| cast.name == name).map(Builtin::Cast);
        let generator = || find_generator(name).map(Builtin::Generator);
        let builtin = find_function(name).map(Builtin::Function).or_else(other).or_else(cast).or_else(generator);
        if let Some(builtin) = builtin {
            return Ok(Value::Builtin(builtin));
        }
        if let Some((_, message)) = UNSUPPORTED.into_iter().find(|(known, _)| *known == name) {
            return Err(self.refuse(at, message));
        }
        let known = functions().map(|function| function.name).chain(OTHERS.map(|(known, _)| known));
        let known = known.chain(CASTS.iter().map(|cast| cast.name)).chain(GENERATORS.iter().map(|it| it.name));
        let advice = did_you_mean(name, known);
        Err(self.refuse(at, format!("px has no function {}{advice}", quote(name))))
    }

    pub(super) fn call_builtin(
        &mut self,
        builtin: Builtin,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        match builtin {
            Builtin::Function(function) => self.call_function(function, arguments, at),
            Builtin::Generator(generator) => self.generate(generator, arguments, at),
            Builtin::Cast(cast) => self.call_cast(cast, arguments, at),
            Builtin::Constant(constant) => self.constant(constant, arguments, at),
            Builtin::Unit(nanoseconds) => self.duration(nanoseconds, arguments, at),
            Builtin::DataFrame => self.data_frame(arguments, at),
            Builtin::Debug => self.display(arguments, true, at),
            Builtin::Display => self.display(arguments, false, at),
            Builtin::EqualsAny => self.equals_any(arguments, at),
            Builtin::ScriptReference => self.script_reference(arguments, at),
        }
    }

    fn call_function(
        &mut self,
        function: &'static Function,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        let name = function.name;
        if function.kind == FunctionKind::Aggregate {
            let message = format!("px.{name} makes a value of a group: write df.agg(x=('column', px.{name}))");
            return Err(self.refuse(at, message));
        }
        let mut typed = Vec::with_capacity(arguments.len());
        for Argument { name: argument, position, item } in arguments {
            if let Some(argument) = argument {
                let message = format!("px.{name} takes its arguments without names, unlike {}", quote(&argument));
                return Err(self.refuse(position, message));
            }
            typed.push(self.row_value(&item, &format!("an argument of px.{name}"))?);
        }
        self.apply(function, typed, at).map(Value::Expression)
    }

    fn call_cast(&mut self, cast: &'static Cast, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let function = format!("px.{}", cast.name);
        let [value] = self.bind(&function, ["value"], arguments)?;
        let item = self.required(value, &function, "value", at)?;
        let typed = self.row_value(&item, &format!("what becomes {function}"))?;
        self.check_cast(cast, &typed, item.position)?;
        Ok(Self::with_meaning(typed, cast.semantic))
    }

    fn check_cast(&mut self, cast: &Cast, typed: &Typed, at: Position) -> Result<(), Refused> {
        if cast.kinds.contains(&typed.kind) {
            return Ok(());
        }
        let kinds: Vec<&str> = cast.kinds.iter().map(|kind| kind.name()).collect();
        let message = format!("px.{} is made of {}, not of {}", cast.name, kinds.join(" or "), typed.kind.name());
        Err(self.refuse(at, message))
    }

    /// `px.equals_any(column, [values])`
    fn equals_any(&mut self, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let function = "px.equals_any";
        let [value, choices] = self.bind(function, ["value", "choices"], arguments)?;
        let value = self.required(value, function, "value", at)?;
        let value = self.row_value(&value, "what is compared")?;
        let choices = self.required(choices, function, "choices", at)?;
        let Value::List(items) = &choices.value else {
            let message = format!("choices is a list, not {}", choices.value.describe());
            return Err(self.refuse(choices.position, message));
        };
        let mut any: Option<Value> = None;
        for Item { value: choice, position } in items.iter() {
            let item = Item { value: choice.clone(), position: *position };
            let choice = self.row_value(&item, "a choice")?;
            let equal = self.apply_by_name("equal", vec![value.clone(), choice], *position)?;
            any = Some(match (any.and_then(|any| any.typed()), equal.typed()) {
                (Some(any), Some(equal)) => self.apply_by_name("logicalOr", vec![any, equal], *position)?,
                _ => equal,
            });
        }
        any.ok_or_else(|| self.refuse(choices.position, "choices is empty"))
    }
}
