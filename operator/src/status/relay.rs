//! `RelayReady`: whether the relay serves the read API, and whether it can read from every node. Pure.

use trilobite_crds::{
    Failure, NodeCounts, Reason,
    condition::{ConditionStatus, ConditionType, Finding},
};

use super::messages;

/// Why a node's port for the relay is closed. The agent itself is well, so the node does not count as failing.
const PORT_REASONS: [Reason; 3] = [Reason::PortTaken, Reason::CertificateNotIssued, Reason::CertificateExpired];

/// Whether a relay is wanted, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RelayState {
    Disabled,
    NotNeeded,
    Suspended,
    /// No replica is available; why, as far as its pods say.
    Unavailable {
        why: Option<String>,
    },
    /// A replica is available, and the API server does not get through to it.
    Unreachable {
        why: String,
    },
    Available {
        available: i32,
        replicas: i32,
    },
}

/// Whether a node's problem is about its port alone.
pub(super) fn is_port_problem(reason: &str) -> bool {
    reason.parse().is_ok_and(|reason| PORT_REASONS.contains(&reason))
}

/// `ports`: nodes whose port is closed, grouped by reason.
pub(super) fn relay_ready(state: &RelayState, ports: &[Failure], counts: &NodeCounts, namespace: &str) -> Finding {
    let finding = |status, reason, message: String| Finding::new(ConditionType::RelayReady, status, reason, message);
    let not_ready = |reason, message: String| finding(ConditionStatus::False, reason, message);
    match state {
        RelayState::Disabled => not_ready(Reason::RelayDisabled, messages::relay_disabled().into()),
        RelayState::NotNeeded => not_ready(Reason::RelayNotNeeded, messages::relay_not_needed().into()),
        RelayState::Suspended => not_ready(Reason::Suspended, messages::suspended_relay().into()),
        RelayState::Unavailable { why } => {
            not_ready(Reason::RelayUnavailable, messages::relay_unavailable(namespace, why.as_deref()))
        }
        RelayState::Unreachable { why } => not_ready(Reason::RelayUnavailable, messages::relay_unreachable(why)),
        RelayState::Available { available, replicas } => {
            let closed = ports.iter().fold(0, |sum: i32, failure| sum.saturating_add(failure.count));
            match port_reason(ports).filter(|_| closed > counts.desired / 100) {
                Some(reason) => not_ready(reason, messages::ports_closed(ports)),
                None => {
                    let message = messages::relay_ready(*available, *replicas, closed);
                    finding(ConditionStatus::True, Reason::Ready, message)
                }
            }
        }
    }
}

/// The reason of all nodes whose port is closed, if they have only one.
pub(super) fn port_reason(ports: &[Failure]) -> Option<Reason> {
    let first = ports.first()?;
    let one = ports.iter().all(|failure| failure.reason == first.reason);
    Some(if one { first.reason.parse().unwrap_or(Reason::Mixed) } else { Reason::Mixed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(reason: Reason, count: i32) -> Failure {
        Failure {
            count,
            example_node: "reef-1".into(),
            kernel: "6.12".into(),
            message: "port 4244 is used by another program".into(),
            reason: reason.as_str().into(),
        }
    }

    fn found(state: &RelayState, ports: &[Failure], desired: i32) -> (ConditionStatus, Reason, String) {
        let counts = NodeCounts { desired, ..NodeCounts::default() };
        let finding = relay_ready(state, ports, &counts, "ink-system");
        assert!(finding.message.chars().count() <= 200, "{}", finding.message);
        (finding.status, finding.reason, finding.message)
    }

    const ONE: RelayState = RelayState::Available { available: 1, replicas: 1 };

    #[test]
    fn available_relay_is_ready() {
        let (status, reason, message) = found(&ONE, &[], 2);
        assert_eq!((status, reason), (ConditionStatus::True, Reason::Ready));
        assert_eq!(message, "1 of 1 replica available; read.trilobite.dev is served");
    }

    #[test]
    fn one_node_of_many_does_not_count_and_is_named() {
        let (status, _, message) = found(&ONE, &[closed(Reason::PortTaken, 1)], 100);
        assert_eq!(status, ConditionStatus::True);
        assert!(message.ends_with("; 1 node cannot be read, see status.failures"), "{message}");
        let (status, reason, message) = found(&ONE, &[closed(Reason::PortTaken, 2)], 100);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::PortTaken));
        assert_eq!(message, "PortTaken on 2 nodes (kernel 6.12), e.g. reef-1: port 4244 is used by another program");
    }

    #[test]
    fn different_causes_on_nodes_are_mixed() {
        let ports = [closed(Reason::PortTaken, 1), closed(Reason::CertificateExpired, 1)];
        assert_eq!(found(&ONE, &ports, 2).1, Reason::Mixed);
    }

    #[test]
    fn missing_relay_is_not_ready_whatever_nodes_say() {
        let unavailable = RelayState::Unavailable { why: Some("ImagePullBackOff".into()) };
        let (status, reason, message) = found(&unavailable, &[closed(Reason::PortTaken, 2)], 2);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::RelayUnavailable));
        assert!(message.contains("ImagePullBackOff") && message.contains("kubectl -n ink-system"), "{message}");
        let long = "x".repeat(400);
        found(&RelayState::Unavailable { why: Some(long.clone()) }, &[], 2);
        found(&RelayState::Unreachable { why: long }, &[], 2);
    }

    #[test]
    fn unwanted_relay_says_why() {
        for (state, expected) in [
            (RelayState::Disabled, Reason::RelayDisabled),
            (RelayState::NotNeeded, Reason::RelayNotNeeded),
            (RelayState::Suspended, Reason::Suspended),
        ] {
            let (status, reason, _) = found(&state, &[], 2);
            assert_eq!((status, reason), (ConditionStatus::False, expected));
        }
    }
}
