//! Filter values that no flow of this agent can have. Such a filter is refused, so that an empty answer is not mistaken for
//! "there are none".

use std::ops::RangeInclusive;

use trilobite_api::flow::{EventTypeFilter, FlowFilter, IpVersion, TrafficDirection, Verdict};

use super::event::is_kind;
use crate::layers::network::flow::{EventKind, ObservationPoint};

const VERDICTS: [Verdict; 3] = [Verdict::Forwarded, Verdict::Dropped, Verdict::Audit];
const PROTOCOLS: [&str; 7] = ["tcp", "udp", "icmp", "icmpv4", "icmpv6", "dns", "http"];
/// Sub-types of drops: numbers of Hubble's reasons, and the agent's own.
const DROP_CODES: RangeInclusive<i32> = 130..=254;

/// The first field without a possible value, and its values.
pub(super) fn impossible_field(filter: &FlowFilter) -> Option<String> {
    let verdict = |number: &i32| Verdict::try_from(*number).map_or("?", |verdict| verdict.as_str_name()).to_owned();
    let is_verdict = |number: &i32| VERDICTS.map(i32::from).contains(number);
    let is_version = |number: &i32| [IpVersion::IPv4, IpVersion::IPv6].map(i32::from).contains(number);
    let is_direction = |number: &i32| TrafficDirection::try_from(*number).is_ok();
    let is_protocol = |name: &String| PROTOCOLS.contains(&name.to_lowercase().as_str());
    absent("verdict", &filter.verdict, is_verdict, verdict)
        .or_else(|| absent("event_type", &filter.event_type, is_event, event))
        .or_else(|| absent("protocol", &filter.protocol, is_protocol, Clone::clone))
        .or_else(|| absent("ip_version", &filter.ip_version, is_version, i32::to_string))
        .or_else(|| absent("traffic_direction", &filter.traffic_direction, is_direction, i32::to_string))
        .or_else(|| absent("encrypted", &filter.encrypted, |wanted| !wanted, bool::to_string))
}

fn absent<T>(field: &str, wanted: &[T], can_be: impl Fn(&T) -> bool, shown: impl Fn(&T) -> String) -> Option<String> {
    if wanted.is_empty() || wanted.iter().any(can_be) {
        return None;
    }
    let wanted: Vec<String> = wanted.iter().map(shown).collect();
    Some(format!("{field}: {} is not there: this agent sees no such flows", wanted.join(", ")))
}

fn is_event(wanted: &EventTypeFilter) -> bool {
    let traces = ObservationPoint::ALL.map(|point| EventKind { kind: EventKind::TRACE, sub_type: point.sub_type() });
    let drops = DROP_CODES.map(|sub_type| EventKind { kind: EventKind::DROP, sub_type });
    let others = [EventKind::POLICY_VERDICT, EventKind::L7].map(|kind| EventKind { kind, sub_type: 0 });
    traces.into_iter().chain(drops).chain(others).any(|kind| is_kind(wanted, kind))
}

/// In the words of `hubble observe --type`.
fn event(wanted: &EventTypeFilter) -> String {
    let kind = match wanted.r#type {
        1 => "drop".to_owned(),
        2 => "debug".to_owned(),
        3 => "capture".to_owned(),
        4 => "trace".to_owned(),
        5 => "policy-verdict".to_owned(),
        7 => "trace-sock".to_owned(),
        129 => "l7".to_owned(),
        130 => "agent".to_owned(),
        other => other.to_string(),
    };
    if wanted.match_sub_type { format!("{kind}:{}", wanted.sub_type) } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_types(types: &[i32]) -> FlowFilter {
        let event_type = types.iter().map(|kind| EventTypeFilter { r#type: *kind, ..EventTypeFilter::default() });
        FlowFilter { event_type: event_type.collect(), ..FlowFilter::default() }
    }

    #[test]
    fn filter_for_what_is_never_seen_is_refused() {
        let traced = FlowFilter { verdict: vec![Verdict::Traced.into(), 5], ..FlowFilter::default() };
        let others = FlowFilter { protocol: vec!["IGMP".into(), "sctp".into()], ..FlowFilter::default() };
        for (filter, told) in [
            (traced, "verdict: TRACED, REDIRECTED is not there"),
            (of_types(&[2, 7]), "event_type: debug, trace-sock is not there"),
            (others, "protocol: IGMP, sctp is not there"),
        ] {
            let what = impossible_field(&filter).unwrap();
            assert!(what.starts_with(told), "{what}");
        }
    }

    #[test]
    fn filters_for_drops_verdicts_and_requests_are_accepted() {
        let dropped = FlowFilter { verdict: vec![Verdict::Dropped.into()], ..FlowFilter::default() };
        let denied = FlowFilter { drop_reason_desc: vec![133], ..FlowFilter::default() };
        let own_code = EventTypeFilter { r#type: 1, match_sub_type: true, sub_type: 230 };
        let own = FlowFilter { event_type: vec![own_code], ..FlowFilter::default() };
        let requests = FlowFilter { protocol: vec!["http".into()], ..of_types(&[129]) };
        for filter in [dropped, denied, own, requests, of_types(&[1]), of_types(&[5])] {
            assert_eq!(impossible_field(&filter), None, "{filter:?}");
        }
    }

    #[test]
    fn default_filters_of_hubble_ui_are_accepted() {
        // hubble-ui asks for requests of these types.
        let page = FlowFilter { reply: vec![false], ..of_types(&[1, 4, 129, 5]) };
        let mixed = FlowFilter {
            verdict: vec![Verdict::Dropped.into(), Verdict::Forwarded.into()],
            protocol: vec!["icmp".into(), "tcp".into()],
            ..page.clone()
        };
        for filter in [FlowFilter::default(), page, mixed] {
            assert_eq!(impossible_field(&filter), None);
        }
    }

    #[test]
    fn filter_for_an_unused_trace_point_is_refused() {
        let at = |sub_type| EventTypeFilter { r#type: 4, match_sub_type: true, sub_type };
        let by = |sub_type| FlowFilter { event_type: vec![at(sub_type)], ..FlowFilter::default() };
        assert_eq!(impossible_field(&by(0)), None);
        assert!(impossible_field(&by(1)).unwrap().contains("trace:1"));
    }
}
