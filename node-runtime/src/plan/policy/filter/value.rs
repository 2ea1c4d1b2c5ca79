//! matchArgs, matchData and matchReturnArgs.

use std::collections::BTreeSet;

use trilobite_crds::policy::{
    ArgumentType, List, Operator, Selector, ValueClass, ValueFilter, Vocabulary,
    value::{self, Cidr, FIRST_UNPRIVILEGED_PORT, LIST_PREFIX, NumberRange},
};

use super::condition::{Conditions, FilterContext, FilterError, of_value, texts};
use crate::plan::policy::{
    dimension::{DimensionKind, DimensionPlan, MAX_AFFIX, Network, ValueFacet},
    item::ReadableValue,
    predicate::{Term, ValueSet},
};

pub(super) fn add_entry_filters(
    conditions: &mut Conditions,
    selector: &Selector,
    context: &FilterContext<'_>,
) -> Result<(), FilterError> {
    for (number, filter) in selector.match_args.iter().enumerate() {
        let position = context.hook.argument_position(filter);
        add(conditions, filter, position, context.args, false, context.lists)
            .map_err(|(field, detail)| error("matchArgs", number, field, detail))?;
    }
    for (number, filter) in selector.match_data.iter().enumerate() {
        let position = usize::try_from(*filter.args.first().unwrap_or(&filter.index)).ok();
        add(conditions, filter, position, context.data, false, context.lists)
            .map_err(|(field, detail)| error("matchData", number, field, detail))?;
    }
    Ok(())
}

pub(super) fn add_return_filters(
    conditions: &mut Conditions,
    selector: &Selector,
    context: &FilterContext<'_>,
) -> Result<(), FilterError> {
    for (number, filter) in selector.match_return_args.iter().enumerate() {
        add(conditions, filter, Some(0), &[context.returned], true, context.lists)
            .map_err(|(field, detail)| error("matchReturnArgs", number, field, detail))?;
    }
    Ok(())
}

fn error(list: &str, number: usize, field: &str, detail: String) -> FilterError {
    FilterError { field: format!("{list}[{number}]{field}"), detail }
}

type Refused = (&'static str, String);

fn add(
    conditions: &mut Conditions,
    filter: &ValueFilter,
    position: Option<usize>,
    readable: &[Option<ReadableValue>],
    at_return: bool,
    lists: &[List],
) -> Result<(), Refused> {
    let operator = known_operator(filter)?;
    let found = position.and_then(|position| readable.get(position));
    let no_value = || (".index", "the hook reads no such argument; add it to args".to_owned());
    let (index, r#type) = found.ok_or_else(no_value)?.ok_or_else(|| {
        (".index", "an argument of type nop is not read, so it cannot be compared; give it a type".to_owned())
    })?;
    if !operator.applies_to(r#type) {
        let detail = format!("{operator} has no meaning for {}; use {}", r#type.as_str(), operators_for(r#type));
        return Err((".operator", detail));
    }
    let condition = condition(operator, filter, index, r#type, readable, lists)?;
    let (mut dimension, set) = condition;
    dimension.at_return = at_return;
    conditions.add(dimension, Term { is_negated: operator.is_negated(), set });
    Ok(())
}

fn known_operator(filter: &ValueFilter) -> Result<Operator, Refused> {
    let unknown =
        || (".operator", format!("{} is no operator; see docs/which-policies-work.md", filter.operator.as_str()));
    filter.operator.known().ok_or_else(unknown)
}

fn operators_for(r#type: ArgumentType) -> String {
    let names: Vec<&str> = Operator::for_type(r#type).into_iter().map(Vocabulary::as_str).collect();
    if names.is_empty() { "another type".into() } else { names.join(", ") }
}

fn condition(
    operator: Operator,
    filter: &ValueFilter,
    index: u8,
    r#type: ArgumentType,
    readable: &[Option<ReadableValue>],
    lists: &[List],
) -> Result<(DimensionPlan, ValueSet), Refused> {
    let interval = |facet| of_value(DimensionKind::Interval, index, facet);
    let ranges = |read: fn(&str) -> Option<NumberRange>| {
        let read = filter.values.iter().map(|text| read(text).ok_or_else(|| unreadable(text)));
        read.map(|range| range.map(small)).collect::<Result<Vec<_>, _>>().map(ValueSet::Ranges)
    };
    let privileged = || ValueSet::Ranges(vec![(0, i64::from(FIRST_UNPRIVILEGED_PORT) - 1)]);
    Ok(match operator.positive() {
        Operator::SPort => (interval(ValueFacet::SourcePort), ranges(value::port_range)?),
        Operator::DPort => (interval(ValueFacet::DestinationPort), ranges(value::port_range)?),
        Operator::SPortPriv => (interval(ValueFacet::SourcePort), privileged()),
        Operator::DPortPriv => (interval(ValueFacet::DestinationPort), privileged()),
        Operator::Protocol => (interval(ValueFacet::Protocol), ranges(value::protocol)?),
        Operator::Family => (interval(ValueFacet::Family), ranges(value::family)?),
        Operator::State => (interval(ValueFacet::State), ranges(value::tcp_state)?),
        Operator::SAddr => (of_value(DimensionKind::Address, index, ValueFacet::SourceAddress), networks(filter)?),
        Operator::DAddr => (of_value(DimensionKind::Address, index, ValueFacet::DestinationAddress), networks(filter)?),
        Operator::FileType => {
            let types = filter.values.iter().map(|name| value::file_type(name).ok_or_else(|| unreadable(name)));
            let types: Result<Vec<u32>, Refused> = types.collect();
            let ranges = types?.into_iter().map(|bits| i64::from(bits >> 12)).map(|number| (number, number));
            (interval(ValueFacet::FileType), ValueSet::Ranges(ranges.collect()))
        }
        Operator::CapabilitiesGained => {
            let old = filter.args.get(1).and_then(|position| readable.get(usize::try_from(*position).ok()?));
            let missing = || (".args", "needs the positions of two capability sets, e.g. [0, 1]".to_owned());
            let (old, old_type) = old.copied().flatten().ok_or_else(missing)?;
            if old_type.class() != ValueClass::Capabilities {
                return Err(missing());
            }
            (of_value(DimensionKind::Bytes, index, ValueFacet::CapabilitiesGained { old }), ValueSet::Mask(u64::MAX))
        }
        Operator::Prefix | Operator::Postfix | Operator::SubString | Operator::SubStringIgnCase => {
            text_condition(operator.positive(), filter, index)?
        }
        Operator::Equal if is_text(r#type) => {
            (of_value(DimensionKind::Exact, index, ValueFacet::Text), texts(&filter.values))
        }
        _ => number_condition(operator.positive(), filter, index, r#type, lists)?,
    })
}

fn is_text(r#type: ArgumentType) -> bool {
    matches!(r#type.class(), ValueClass::Text | ValueClass::File | ValueClass::UnixAddress)
}

fn text_condition(operator: Operator, filter: &ValueFilter, index: u8) -> Result<(DimensionPlan, ValueSet), Refused> {
    let kind = match operator {
        Operator::Prefix => DimensionKind::Prefix,
        Operator::Postfix => DimensionKind::Suffix,
        // Every text contains the empty one, and begins with it.
        _ if filter.values.iter().any(String::is_empty) => {
            return Ok((of_value(DimensionKind::Prefix, index, ValueFacet::Text), texts([&String::new()])));
        }
        _ => DimensionKind::Substring,
    };
    if matches!(kind, DimensionKind::Prefix | DimensionKind::Suffix) {
        check_affixes(&filter.values)?;
    }
    let ignore_case = operator == Operator::SubStringIgnCase;
    let dimension = DimensionPlan { ignore_case, ..of_value(kind, index, ValueFacet::Text) };
    Ok((dimension, texts(&filter.values)))
}

/// Refuses prefixes and suffixes that are longer than a key.
pub(super) fn check_affixes(values: &[String]) -> Result<(), Refused> {
    match values.iter().find(|value| value.len() > MAX_AFFIX) {
        None => Ok(()),
        Some(value) => {
            let detail = format!("a value has {} bytes, and at most {MAX_AFFIX} are possible; use Equal", value.len());
            Err((".values", detail))
        }
    }
}

fn number_condition(
    operator: Operator,
    filter: &ValueFilter,
    index: u8,
    r#type: ArgumentType,
    lists: &[List],
) -> Result<(DimensionPlan, ValueSet), Refused> {
    let (min, max, unsigned) = match r#type.class() {
        ValueClass::Number(integer) => (integer.min(), integer.max(), integer.bits == 64 && !integer.signed),
        _ => (0, i128::from(u64::MAX), true),
    };
    let all = if r#type.class() == ValueClass::Capabilities {
        capability_sets(filter)?
    } else {
        numbers(&filter.values, lists)?
    };
    if operator == Operator::Mask {
        // The number has 64 bits, extended by its sign: so has the mask.
        let mask = all.iter().fold(0, |mask, range| mask | low_bits(range.min));
        return Ok((of_value(DimensionKind::Bytes, index, ValueFacet::Number), ValueSet::Mask(mask)));
    }
    let ranges = all.into_iter().filter_map(|range| {
        let range = match operator {
            Operator::GreaterThan => NumberRange { min: range.min + 1, max },
            Operator::LessThan => NumberRange { min, max: range.max - 1 },
            _ => range,
        };
        // Numbers that the type does not have are never there.
        let (from, to) = (range.min.max(min), range.max.min(max));
        (from <= to).then(|| (ordered(from, unsigned), ordered(to, unsigned)))
    });
    let dimension = DimensionPlan { unsigned, ..of_value(DimensionKind::Interval, index, ValueFacet::Number) };
    Ok((dimension, ValueSet::Ranges(ranges.collect())))
}

/// The number's place in the table's order: unsigned ones of 64 bits have their top bit flipped.
fn ordered(number: i128, unsigned: bool) -> i64 {
    let bits = low_bits(number);
    (if unsigned { bits ^ 1 << 63 } else { bits }).cast_signed()
}

/// Two's complement of 64 bits.
fn low_bits(number: i128) -> u64 {
    u64::try_from(number & i128::from(u64::MAX)).unwrap_or_default()
}

fn small(range: NumberRange) -> (i64, i64) {
    let clamp = |number: i128| i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX });
    (clamp(range.min), clamp(range.max))
}

fn numbers(values: &[String], lists: &[List]) -> Result<Vec<NumberRange>, Refused> {
    let mut all = Vec::with_capacity(values.len());
    for text in values {
        match text.strip_prefix(LIST_PREFIX) {
            Some(name) => {
                let list = lists.iter().find(|list| list.name == name);
                let list = list.ok_or_else(|| (".values", format!("there is no list {name}; add it to spec.lists")))?;
                // A list of the node has numbers for the names that it knows.
                all.extend(list.values.iter().filter_map(|text| value::range(text)));
            }
            None => all.push(value::range(text).ok_or_else(|| unreadable(text))?),
        }
    }
    Ok(all)
}

fn capability_sets(filter: &ValueFilter) -> Result<Vec<NumberRange>, Refused> {
    let masks = filter.values.iter().map(|text| value::capability_mask(text).ok_or_else(|| unreadable(text)));
    masks.map(|mask| mask.map(|mask| NumberRange::one(mask.into()))).collect()
}

fn networks(filter: &ValueFilter) -> Result<ValueSet, Refused> {
    let networks = filter.values.iter().map(|text| Cidr::parse(text).map(network).ok_or_else(|| unreadable(text)));
    let networks = networks.collect::<Result<BTreeSet<Network>, Refused>>()?;
    Ok(ValueSet::Networks(networks.into_iter().collect()))
}

/// An IPv4 network that is written as one of mapped addresses is the IPv4 network: so is the address of such a socket.
fn network(cidr: Cidr) -> Network {
    match cidr.address {
        std::net::IpAddr::V4(address) => Network::of_ipv4(address, cidr.bits),
        std::net::IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) if cidr.bits >= 96 => Network::of_ipv4(mapped, cidr.bits - 96),
            _ => Network::new(6, address.octets(), cidr.bits),
        },
    }
}

fn unreadable(text: &str) -> Refused {
    (".values", format!("{text:?} cannot be read as a value; see docs/which-policies-work.md"))
}
