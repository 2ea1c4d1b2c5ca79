//! Filters on values that the hook reads: each operator against the type of its operand, and the texts of its values.

use super::{
    argument::{known_type, with_article},
    fault::Faults,
    list::{check_numeric, named_list},
    nearest::advice,
    wording::{either, shown},
};
use crate::policy::{
    Argument, ArgumentType, Hook, Integer, Operator, TracingPolicySpec, ValueClass, ValueFilter, Vocabulary,
    value::{self, Cidr, LIST_PREFIX, NumberRange},
};

/// Longest prefix or postfix that the kernel's maps can hold.
const MAX_AFFIX: usize = 255;

/// The values that a section of filters can be about.
pub(super) struct Operands<'a> {
    /// The field of the hook, e.g. `args`.
    name: &'static str,
    arguments: &'a [Argument],
    /// Whether a filter's `index` is that of an argument, not a position.
    by_index: bool,
    /// The hook whose arguments they are, if they are its `args`.
    hook: Option<Hook<'a>>,
}

impl<'a> Operands<'a> {
    pub(super) fn new(name: &'static str, arguments: &'a [Argument], by_index: bool) -> Self {
        Self { name, arguments, by_index, hook: None }
    }

    pub(super) fn arguments_of(hook: Hook<'a>) -> Self {
        Self { name: "args", arguments: hook.args(), by_index: true, hook: Some(hook) }
    }

    /// Position of the argument that a filter means, or a fault.
    fn position(&self, path: &str, filter: &ValueFilter, faults: &mut Faults) -> Option<usize> {
        let Self { name, arguments, by_index, hook } = self;
        let (field, wanted) = match filter.args.first() {
            Some(position) => (format!("{path}.args[0]"), *position),
            None => (format!("{path}.index"), filter.index),
        };
        let found = if let Some(hook) = hook {
            hook.argument_position(filter)
        } else if filter.args.is_empty() && *by_index {
            arguments.iter().position(|argument| argument.index == wanted)
        } else {
            usize::try_from(wanted).ok().filter(|position| *position < arguments.len())
        };
        if found.is_none() {
            let what = if filter.args.is_empty() && *by_index { "with index" } else { "at position" };
            faults.invalid(&field, || format!("the hook has no value {what} {wanted} in {name}; add it there"));
        }
        found
    }
}

pub(super) fn check_value_filter(
    path: &str,
    filter: &ValueFilter,
    operands: &Operands<'_>,
    policy: &TracingPolicySpec,
    faults: &mut Faults,
) {
    let operator_field = format!("{path}.operator");
    let operator = known_operator(&operator_field, filter, faults);
    if operator == Some(Operator::CelExpr) {
        return faults.unsupported_value(&operator_field, "CelExpr", "use other operators");
    }
    let position = operands.position(path, filter, faults);
    let Some((operator, position)) = operator.zip(position) else { return };
    let Some(r#type) = known_type(&operands.arguments[position]) else { return };
    if r#type.class() == ValueClass::Auto {
        // Each node knows the type, and checks the operator and the values once more. Lists are the policy's.
        for (index, text) in filter.values.iter().enumerate() {
            named_list(&format!("{path}.values[{index}]"), text, policy, faults);
        }
        return;
    }
    if !operator.applies_to(r#type) {
        let operand =
            if operands.name == "returnArg" { "returnArg".into() } else { format!("{}[{position}]", operands.name) };
        return faults.invalid(&operator_field, || no_meaning(operator, &operand, r#type));
    }
    check_second_operand(path, operator, filter, operands, faults);
    check_values(path, operator, r#type, &filter.values, policy, faults);
}

/// There are too many operators to list them.
fn known_operator(field: &str, filter: &ValueFilter, faults: &mut Faults) -> Option<Operator> {
    let operator = filter.operator.known();
    if operator.is_none() {
        let word = filter.operator.as_str();
        let names = Operator::SPELLINGS.iter().map(|(spelling, _)| *spelling);
        faults.invalid(field, || {
            format!("{} is not known; {}", shown(word), advice(word, names, "see docs/which-policies-work.md"))
        });
    }
    operator
}

/// Checks the values of a filter against the type of its operand.
fn check_values(
    path: &str,
    operator: Operator,
    r#type: ArgumentType,
    values: &[String],
    policy: &TracingPolicySpec,
    faults: &mut Faults,
) {
    if operator.takes_no_values() {
        if !values.is_empty() {
            faults.invalid(&format!("{path}.values"), || format!("{operator} takes no values; remove them"));
        }
        return;
    }
    if values.is_empty() {
        faults.invalid(&format!("{path}.values"), || "must have at least 1 item".into());
    }
    for (index, text) in values.iter().enumerate() {
        let field = format!("{path}.values[{index}]");
        if text.starts_with(LIST_PREFIX) && operator.positive() == Operator::InMap {
            if let Some(list) = named_list(&field, text, policy, faults) {
                check_numeric(&field, list, faults);
            }
        } else if let Some(must) = value_problem(operator.positive(), r#type.class(), text) {
            faults.invalid(&field, || format!("{} must be {must}", shown(text)));
        }
    }
}

/// What a value must be, where it is not.
fn value_problem(operator: Operator, class: ValueClass, text: &str) -> Option<String> {
    let must = |is_valid: bool, must: &str| (!is_valid).then(|| must.to_owned());
    match (operator, class) {
        (_, ValueClass::Number(integer)) => number_problem(operator, integer, text),
        (Operator::FileType, _) => {
            must(value::file_type(text).is_some(), "one of sock, lnk, reg, blk, dir, chr or fifo")
        }
        (Operator::SAddr | Operator::DAddr, _) => {
            must(Cidr::parse(text).is_some(), "an address or a network, e.g. 10.0.0.0/8 or fd00::1")
        }
        (Operator::SPort | Operator::DPort, _) => {
            must(value::port_range(text).is_some(), "a port from 0 to 65535, or a range such as 1024:2048")
        }
        (Operator::Protocol, _) => must(value::protocol(text).is_some(), "a protocol, e.g. IPPROTO_TCP or 6"),
        (Operator::Family, _) => must(value::family(text).is_some(), "an address family, e.g. AF_INET or 2"),
        (Operator::State, _) => must(value::tcp_state(text).is_some(), "a TCP state, e.g. TCP_ESTABLISHED or 1"),
        (_, ValueClass::Capabilities) => {
            must(value::capability_mask(text).is_some(), "names of capabilities between commas, or a number")
        }
        // Every text begins with, ends in and contains the empty one.
        (Operator::Equal, _) => None,
        (Operator::Prefix | Operator::Postfix, _) if text.len() > MAX_AFFIX => {
            Some(format!("at most {MAX_AFFIX} bytes, this has {}", text.len()))
        }
        _ => must(!text.is_empty(), "at least 1 character, as every text matches an empty one"),
    }
}

fn number_problem(operator: Operator, integer: Integer, text: &str) -> Option<String> {
    let Integer { bits, signed } = integer;
    let bounds = NumberRange { min: integer.min(), max: integer.max() };
    // A mask is bits, which may be written as either.
    let bounds = if operator == Operator::Mask { NumberRange { max: (1 << bits) - 1, ..bounds } } else { bounds };
    let takes_ranges = matches!(operator, Operator::InRange | Operator::InMap);
    let number = if takes_ranges { value::range(text) } else { value::number(text).map(NumberRange::one) };
    let kind = if signed { "a number" } else { "an unsigned number" };
    let ranges = if takes_ranges { ", or a range such as 1:8" } else { "" };
    match number {
        Some(range) if range.is_within(bounds) => None,
        Some(_) => Some(format!("from {} to {}, as the value has {bits} bits", bounds.min, bounds.max)),
        None => Some(format!("{kind}{ranges}")),
    }
}

fn check_second_operand(
    path: &str,
    operator: Operator,
    filter: &ValueFilter,
    operands: &Operands<'_>,
    faults: &mut Faults,
) {
    let field = format!("{path}.args");
    if operator != Operator::CapabilitiesGained {
        if filter.args.len() > 1 {
            faults.invalid(&field, || format!("{operator} compares one value; name one"));
        }
        return;
    }
    let [_, second] = filter.args[..] else {
        return faults
            .invalid(&field, || "must name the positions of the new set and of the old one, e.g. [0, 1]".into());
    };
    let argument = usize::try_from(second).ok().and_then(|position| operands.arguments.get(position));
    if argument.and_then(known_type).is_none_or(|r#type| r#type.class() != ValueClass::Capabilities) {
        faults.invalid(&format!("{field}[1]"), || {
            format!("{}[{second}] must be a set of capabilities, e.g. cap_effective", operands.name)
        });
    }
}

/// `Mask is for numbers, args[0] is a file; use Equal, Prefix, Postfix or SubString`.
fn no_meaning(operator: Operator, operand: &str, r#type: ArgumentType) -> String {
    let meant_for = meant_for(operator);
    let is = with_article(r#type);
    if matches!(r#type.class(), ValueClass::Opaque | ValueClass::Auto) {
        return format!(
            "{operator} is for {meant_for}, {operand} is {is}, which can be shown but not compared; remove the filter"
        );
    }
    let usual = Operator::for_type(r#type).into_iter().filter(|operator| !operator.is_negated() && is_usual(*operator));
    let usual: Vec<&str> = usual.map(|operator| operator.as_str()).collect();
    format!("{operator} is for {meant_for}, {operand} is {is}; use {}", either(usual.into_iter()))
}

/// Operators that a message lists.
fn is_usual(operator: Operator) -> bool {
    !matches!(operator, Operator::SubStringIgnCase | Operator::FileType | Operator::SPortPriv | Operator::DPortPriv)
}

fn meant_for(operator: Operator) -> &'static str {
    match operator.positive() {
        Operator::Equal => "numbers, text and capability sets",
        Operator::GreaterThan | Operator::LessThan | Operator::Mask | Operator::InMap | Operator::InRange => "numbers",
        Operator::Prefix | Operator::Postfix | Operator::SubString | Operator::SubStringIgnCase => "text and paths",
        Operator::FileType => "files and paths",
        Operator::CapabilitiesGained => "capability sets",
        Operator::In => "facts about the process",
        _ => "sockets",
    }
}
