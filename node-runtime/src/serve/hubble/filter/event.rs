//! Filters by what happened: type of the event, verdict, reason of a drop, direction.

use trilobite_api::flow::{EventTypeFilter, Verdict};

use super::{super::flow_message, predicate::BuildResult};
use crate::layers::network::flow::EventKind;

pub(super) fn event_type(wanted: Vec<EventTypeFilter>) -> BuildResult {
    Ok(Box::new(move |flow| wanted.iter().any(|one| is_kind(one, flow.event.kind()))))
}

/// Whether one entry selects events of this kind.
pub(super) fn is_kind(wanted: &EventTypeFilter, EventKind { kind, sub_type }: EventKind) -> bool {
    (wanted.r#type == 0 || wanted.r#type == kind) && (!wanted.match_sub_type || wanted.sub_type == sub_type)
}

pub(super) fn verdict(wanted: Vec<i32>) -> BuildResult {
    Ok(Box::new(move |flow| wanted.contains(&flow.event.verdict().into())))
}

/// A reason counts only with the verdict of a drop.
pub(super) fn drop_reason(wanted: Vec<i32>) -> BuildResult {
    Ok(Box::new(move |flow| {
        flow.event.verdict() == Verdict::Dropped && wanted.contains(&flow.event.drop_reason().into())
    }))
}

/// What was dropped counts as no reply if its connection is not known, as with Hubble; hubble-ui relies on it.
pub(super) fn reply(wanted: Vec<bool>) -> BuildResult {
    Ok(Box::new(move |flow| match flow.is_reply {
        Some(is_reply) => wanted.contains(&is_reply),
        None => flow.event.verdict() == Verdict::Dropped && wanted.contains(&false),
    }))
}

pub(super) fn traffic_direction(wanted: Vec<i32>) -> BuildResult {
    Ok(Box::new(move |flow| wanted.contains(&flow_message::direction(flow.direction).into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::{
        Flow, L7FlowType, PolicyAction,
        samples::{drop_by_policy, drop_for_another_reason, http, policy_verdict, syn},
    };

    fn passing(test: BuildResult) -> [bool; 6] {
        let test = test.unwrap();
        [
            syn(),
            drop_by_policy(),
            drop_for_another_reason(),
            policy_verdict(PolicyAction::Allowed),
            policy_verdict(PolicyAction::Denied),
            policy_verdict(PolicyAction::Audit),
        ]
        .map(|flow| test(&flow))
    }

    #[test]
    fn verdict_and_reason_are_the_events() {
        assert_eq!(passing(verdict(vec![1])), [true, false, false, true, false, false]);
        assert_eq!(passing(verdict(vec![2])), [false, true, true, false, true, false]);
        assert_eq!(passing(verdict(vec![4])), [false, false, false, false, false, true]);
        assert_eq!(passing(drop_reason(vec![133])), [false, true, false, false, true, false]);
        assert_eq!(passing(drop_reason(vec![0])), [false, false, true, false, false, false]);
    }

    #[test]
    fn type_may_name_a_sub_type() {
        let of = |kind, sub_type: Option<i32>| EventTypeFilter {
            r#type: kind,
            match_sub_type: sub_type.is_some(),
            sub_type: sub_type.unwrap_or_default(),
        };
        assert_eq!(passing(event_type(vec![of(1, None)])), [false, true, true, false, false, false]);
        assert_eq!(passing(event_type(vec![of(1, Some(230))])), [false, false, true, false, false, false]);
        assert_eq!(passing(event_type(vec![of(5, None), of(4, Some(3))])), [true, false, false, true, true, true]);
    }

    #[test]
    fn response_is_a_forwarded_reply_of_type_l7() {
        let response = http(L7FlowType::Response, 503);
        let of_l7 = EventTypeFilter { r#type: 129, ..EventTypeFilter::default() };
        for test in [event_type(vec![of_l7]), verdict(vec![1]), reply(vec![true])] {
            assert!(test.unwrap()(&response));
        }
        assert!(!reply(vec![true]).unwrap()(&http(L7FlowType::Request, 0)));
    }

    #[test]
    fn drop_of_an_unknown_connection_is_no_reply() {
        let unknown = Flow { is_reply: None, ..syn() };
        assert!(reply(vec![false]).unwrap()(&drop_by_policy()) && !reply(vec![true]).unwrap()(&drop_by_policy()));
        assert!(!reply(vec![false, true]).unwrap()(&unknown));
        let answer = Flow { is_reply: Some(true), ..drop_by_policy() };
        assert!(reply(vec![true]).unwrap()(&answer) && !reply(vec![false]).unwrap()(&answer));
    }
}
