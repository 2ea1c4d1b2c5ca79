//! Filter values that no flow of this agent can have: all flows are TCP or UDP, seen at an interface, and forwarded.
//! Such a filter is refused, so that an empty answer is not mistaken for "there are none".

use trilobite_api::flow::{DropReason, EventTypeFilter, FlowFilter, IpVersion, TrafficDirection, Verdict};

use super::flow_message;
use crate::layers::network::flow::ObservationPoint;

/// The first field without a possible value, and its values.
pub(super) fn impossible_field(filter: &FlowFilter) -> Option<String> {
    let verdict = |number: &i32| Verdict::try_from(*number).map_or("?", |verdict| verdict.as_str_name()).to_owned();
    let reason = |number: &i32| DropReason::try_from(*number).map_or("?", |reason| reason.as_str_name()).to_owned();
    let is_verdict = |number: &i32| *number == i32::from(flow_message::VERDICT);
    let is_version = |number: &i32| [IpVersion::IPv4, IpVersion::IPv6].map(i32::from).contains(number);
    let is_direction =
        |number: &i32| [TrafficDirection::Ingress, TrafficDirection::Egress].map(i32::from).contains(number);
    let is_protocol = |name: &String| ["tcp", "udp"].contains(&name.to_lowercase().as_str());
    absent("verdict", &filter.verdict, is_verdict, verdict)
        .or_else(|| absent("drop_reason_desc", &filter.drop_reason_desc, |_| false, reason))
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
    [
        ObservationPoint::ToStack,
        ObservationPoint::ToEndpoint,
        ObservationPoint::FromNetwork,
        ObservationPoint::ToNetwork,
    ]
    .into_iter()
    .any(|point| {
        let kind = flow_message::event_type(point);
        (wanted.r#type == 0 || wanted.r#type == kind.r#type)
            && (!wanted.match_sub_type || wanted.sub_type == kind.sub_type)
    })
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
    fn filter_for_drops_alone_is_refused() {
        let dropped = FlowFilter { verdict: vec![Verdict::Dropped.into()], ..FlowFilter::default() };
        let denied = FlowFilter { drop_reason_desc: vec![133], ..FlowFilter::default() };
        let queries = FlowFilter { protocol: vec!["DNS".into(), "icmp".into()], ..FlowFilter::default() };
        for (filter, told) in [
            (dropped, "verdict: DROPPED is not there"),
            (denied, "drop_reason_desc: POLICY_DENIED is not there"),
            (of_types(&[1]), "event_type: drop is not there"),
            (queries, "protocol: DNS, icmp is not there"),
        ] {
            let what = impossible_field(&filter).unwrap();
            assert!(what.starts_with(told), "{what}");
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
