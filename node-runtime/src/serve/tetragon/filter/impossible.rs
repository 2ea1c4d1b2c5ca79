//! Filters by which no event can pass, so that an endless wait is not mistaken for "there are none".

use trilobite_api::tetragon::{self as api, EventType};

/// Types of events that this agent sends, in the order in which a refusal names them. Losses and gaps come as the last two.
pub(crate) const EVENT_TYPES: [EventType; 6] = [
    EventType::ProcessExec,
    EventType::ProcessExit,
    EventType::ProcessKprobe,
    EventType::ProcessTracepoint,
    EventType::ProcessThrottle,
    EventType::RateLimitInfo,
];

/// Types that carry the name of a policy.
const OF_POLICIES: [EventType; 2] = [EventType::ProcessKprobe, EventType::ProcessTracepoint];

/// Why no event can pass an allowed filter. Lists of which one member can come are accepted: clients send the types that
/// they know.
pub(super) fn impossible_field(filter: &api::Filter) -> Option<String> {
    let contains = |list: &[EventType], number: &i32| list.iter().any(|kind| i32::from(*kind) == *number);
    let names = |numbers: &[i32]| {
        let name = |number: &i32| {
            EventType::try_from(*number).map_or_else(|_| number.to_string(), |kind| kind.as_str_name().to_owned())
        };
        numbers.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let wanted = &filter.event_set;
    if !wanted.is_empty() && !wanted.iter().any(|number| contains(&EVENT_TYPES, number)) {
        let sent = names(&EVENT_TYPES.map(i32::from));
        return Some(format!("event_set: {} cannot come from this agent, which sends {sent}", names(wanted)));
    }
    let of_policies = wanted.is_empty() || wanted.iter().any(|number| contains(&OF_POLICIES, number));
    // Losses come whatever the other fields say.
    let losses = [EventType::ProcessThrottle, EventType::RateLimitInfo];
    let only_losses = wanted.iter().all(|number| contains(&losses, number) || !contains(&EVENT_TYPES, number));
    if !filter.policy_names.is_empty() && !of_policies && !only_losses {
        return Some(format!(
            "policy_names: {} carries no policy, only PROCESS_KPROBE and PROCESS_TRACEPOINT do",
            names(wanted)
        ));
    }
    None
}
