//! Filters on the values that the hook reads.

use std::net::IpAddr;

use super::call::{Call, CallSocket, CallValue};
use crate::policy::{
    Hook, List, Operator, Selector, ValueFilter,
    value::{self, Cidr, FILE_TYPE_BITS, FIRST_UNPRIVILEGED_PORT, LIST_PREFIX, NumberRange},
};

/// Whether every filter of the selector on arguments and data matches.
pub(super) fn entry_matches(selector: &Selector, hook: Hook<'_>, lists: &[List], call: &Call) -> bool {
    let args = |filter: &ValueFilter| filter_matches(filter, hook.argument_position(filter), &call.args, lists);
    let data = |filter: &ValueFilter| filter_matches(filter, first_position(filter), &call.data, lists);
    selector.match_args.iter().all(args) && selector.match_data.iter().all(data)
}

/// Whether every filter of the selector on the returned value matches.
pub(super) fn return_matches(selector: &Selector, lists: &[List], call: &Call) -> bool {
    let returned: Vec<CallValue> = call.returned.iter().cloned().collect();
    selector.match_return_args.iter().all(|filter| filter_matches(filter, Some(0), &returned, lists))
}

fn first_position(filter: &ValueFilter) -> Option<usize> {
    usize::try_from(*filter.args.first().unwrap_or(&filter.index)).ok()
}

/// A value that cannot be read is none of the listed ones: positive operators do not match, negated ones do.
fn filter_matches(filter: &ValueFilter, position: Option<usize>, values: &[CallValue], lists: &[List]) -> bool {
    let Some(operator) = filter.operator.known() else { return false };
    let Some(value) = position.and_then(|position| values.get(position)) else { return false };
    let one_applies = match (operator.positive(), value) {
        (_, CallValue::Unreadable | CallValue::Opaque) => false,
        (Operator::CapabilitiesGained, CallValue::Capabilities(new)) => {
            let old = filter.args.get(1).and_then(|position| values.get(usize::try_from(*position).ok()?));
            matches!(old, Some(CallValue::Capabilities(old)) if new & !old != 0)
        }
        (positive, CallValue::Number(number)) => number_applies(positive, *number, &filter.values, lists),
        (positive, CallValue::Text(text)) => text_applies(positive, text, &filter.values),
        (Operator::FileType, CallValue::File { mode, .. }) => {
            filter.values.iter().any(|name| value::file_type(name) == Some(mode & FILE_TYPE_BITS))
        }
        (positive, CallValue::File { path, .. }) => text_applies(positive, path, &filter.values),
        (positive, CallValue::Socket(socket)) => socket_applies(positive, socket, &filter.values),
        (positive, CallValue::Capabilities(set)) => {
            filter.values.iter().filter_map(|text| value::capability_mask(text)).any(|mask| match positive {
                Operator::Mask => set & mask != 0,
                _ => *set == mask,
            })
        }
    };
    one_applies != operator.is_negated()
}

fn number_applies(operator: Operator, number: i128, values: &[String], lists: &[List]) -> bool {
    values.iter().any(|text| {
        if let Some(name) = text.strip_prefix(LIST_PREFIX) {
            let list = lists.iter().find(|list| list.name == name);
            return list.is_some_and(|list| number_applies(operator, number, &list.values, &[]));
        }
        let Some(range) = value::range(text) else { return false };
        match operator {
            Operator::GreaterThan => number > range.min,
            Operator::LessThan => number < range.max,
            Operator::Mask => (number as u64) & (range.min as u64) != 0,
            _ => range.contains(number),
        }
    })
}

fn text_applies(operator: Operator, text: &[u8], values: &[String]) -> bool {
    let contains = |text: &[u8], part: &[u8]| part.is_empty() || text.windows(part.len()).any(|window| window == part);
    values.iter().map(String::as_bytes).any(|value| match operator {
        Operator::Prefix => text.starts_with(value),
        Operator::Postfix => text.ends_with(value),
        Operator::SubString => contains(text, value),
        Operator::SubStringIgnCase => contains(&text.to_ascii_lowercase(), &value.to_ascii_lowercase()),
        _ => text == value,
    })
}

fn socket_applies(operator: Operator, socket: &CallSocket, values: &[String]) -> bool {
    let in_ranges = |number: Option<u16>, read: fn(&str) -> Option<NumberRange>| {
        number.is_some_and(|number| {
            values.iter().filter_map(|text| read(text)).any(|range| range.contains(number.into()))
        })
    };
    let in_networks = |address: &Option<IpAddr>| {
        address.as_ref().is_some_and(|address| {
            values.iter().filter_map(|text| Cidr::parse(text)).any(|network| network.contains(address))
        })
    };
    let is_privileged = |port: Option<u16>| port.is_some_and(|port| port < FIRST_UNPRIVILEGED_PORT);
    match operator {
        Operator::SPort => in_ranges(socket.sport, value::port_range),
        Operator::DPort => in_ranges(socket.dport, value::port_range),
        Operator::SPortPriv => is_privileged(socket.sport),
        Operator::DPortPriv => is_privileged(socket.dport),
        Operator::SAddr => in_networks(&socket.saddr),
        Operator::DAddr => in_networks(&socket.daddr),
        Operator::Protocol => in_ranges(socket.protocol, value::protocol),
        Operator::Family => in_ranges(socket.family, value::family),
        Operator::State => in_ranges(socket.state.map(u16::from), value::tcp_state),
        text => socket.path.as_ref().is_some_and(|path| text_applies(text, path, values)),
    }
}
