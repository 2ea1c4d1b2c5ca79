//! `RowsSeen`: whether an AppProfile, or the stack's standing profile, has made rows of requests, and where not, which of the
//! states of docs/why-no-rows.md it is in. Information alone: no other condition depends on it. Pure.

use ConditionStatus::{False, True, Unknown};
use trilobite_crds::{
    Failure, Layer, NodeCounts, Reason, Refusal,
    condition::{ConditionStatus, ConditionType, Finding},
    node::RequestsSession,
    status::RequestsStatus,
};

use super::{
    controller_report::{Requested, SessionRequest, StatusInput},
    messages,
};

type Decision = (ConditionStatus, Reason, String);

/// None for a resource that does not ask for requests. `no_pods` says why no pod of a session is selected.
pub(super) fn rows_seen(
    input: &StatusInput,
    seen: Option<&RequestsStatus>,
    failures: &[Failure],
    counts: &NodeCounts,
    no_pods: impl Fn(&SessionRequest) -> String,
) -> Option<Finding> {
    if !input.asks_for_requests {
        return None;
    }
    let refused = |refusals: &[Refusal]| Some((False, refusals.first()?.reason, messages::refused(refusals)));
    let pending = || (Unknown, Reason::Pending, messages::pending().into());
    let (status, reason, message) = match (&input.requested, &input.standing) {
        _ if input.suspended => (False, Reason::Suspended, messages::suspended().into()),
        (Requested::Session(session), _) => of_session(session, seen, failures, counts, &no_pods),
        (Requested::Profile(_), Some(asked)) => {
            of_nodes(asked, seen, failures, counts, || messages::no_pods_in_namespaces().into())
        }
        (Requested::Profile(_), None) => {
            let of_layer =
                input.refusals.iter().filter(|refusal| refusal.field.starts_with(Layer::Application.field()));
            refused(&of_layer.cloned().collect::<Vec<_>>()).unwrap_or_else(pending)
        }
        (Requested::Nothing | Requested::Part { .. }, _) => refused(&input.refusals).unwrap_or_else(pending),
    };
    Some(Finding::new(ConditionType::RowsSeen, status, reason, message))
}

fn of_session(
    session: &SessionRequest,
    seen: Option<&RequestsStatus>,
    failures: &[Failure],
    counts: &NodeCounts,
    no_pods: &impl Fn(&SessionRequest) -> String,
) -> Decision {
    match (&session.nodes, &session.requests) {
        (Some(nodes), _) if nodes.is_empty() => (False, Reason::NoMatchingPods, no_pods(session)),
        (Some(_), Some(asked)) => of_nodes(asked, seen, failures, counts, || no_pods(session)),
        _ => (Unknown, Reason::Progressing, messages::listing_pods().into()),
    }
}

fn of_nodes(
    asked: &RequestsSession,
    seen: Option<&RequestsStatus>,
    failures: &[Failure],
    counts: &NodeCounts,
    no_pods: impl Fn() -> String,
) -> Decision {
    let failed = failures.first().map(|first| {
        let reason = first.reason.parse().unwrap_or(Reason::LoadFailed);
        (False, reason, messages::worst_failure(failures))
    });
    let Some(seen) = seen else {
        return failed.unwrap_or_else(|| (Unknown, Reason::Progressing, messages::no_report_of_requests(counts)));
    };
    if seen.total_rows > 0 {
        return (True, Reason::RowsSeen, messages::rows_seen(seen));
    }
    match (why_no_rows(seen, asked), failed) {
        // On the nodes that report nothing may have happened, while others could not start.
        ((Reason::NoMatchingPods | Reason::NoTraffic, _), Some(failed)) => failed,
        ((Reason::NoMatchingPods, _), None) => (False, Reason::NoMatchingPods, no_pods()),
        ((reason, message), _) => (False, reason, message),
    }
}

/// What the nodes saw in place of requests; what explains most comes first.
fn why_no_rows(seen: &RequestsStatus, asked: &RequestsSession) -> (Reason, String) {
    if seen.encrypted > 0 || seen.other_protocols == ["tls"] {
        (Reason::Encrypted, messages::encrypted(seen, asked))
    } else if !seen.other_protocols.is_empty() {
        (Reason::OtherProtocol, messages::other_protocol(seen))
    } else if seen.other_role > 0 && asked.roles.len() == 1 {
        (Reason::RoleNotSeen, messages::role_not_seen(seen, asked))
    } else if seen.pods == 0 {
        (Reason::NoMatchingPods, String::new())
    } else {
        (Reason::NoTraffic, messages::no_traffic(seen, asked))
    }
}
