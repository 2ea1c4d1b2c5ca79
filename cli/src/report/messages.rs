//! Texts for users: what conditions mean, and what to do about each reason.

use trilobite_crds::{
    Reason,
    condition::{Condition, ConditionStatus, ConditionType},
};

/// A condition as a sentence without its reason.
pub(super) fn sentence(condition: &Condition) -> &'static str {
    use {ConditionStatus as S, ConditionType as T};
    match (condition.r#type, condition.status) {
        (T::Ready, S::True) => "is ready",
        (T::Ready, S::False) => "is not ready",
        (T::Ready, S::Unknown) => "may be ready: no status has been reported yet",
        (T::Programmed, S::True) => "every node has its profile",
        (T::Programmed, S::False) => "not every node has its profile",
        (T::Programmed, S::Unknown) => "it is not known which nodes have their profile",
        (T::Accepted, S::True) => "is accepted",
        (T::Accepted, S::False) => "is not accepted",
        (T::Accepted, S::Unknown) => "it is not known whether it is accepted",
        (T::Degraded, S::True) => "some node has a problem",
        (T::Degraded, S::False) => "no node has a problem",
        (T::Degraded, S::Unknown) => "it is not known whether nodes have problems",
        (T::RowsSeen, S::True) => "rows of requests were made",
        (T::RowsSeen, S::False) => "no row of a request was made",
        (T::RowsSeen, S::Unknown) => "it is not known whether rows of requests were made",
        (T::RelayReady, S::True) => "the relay answers reads",
        (T::RelayReady, S::False) => "no relay answers reads",
        (T::RelayReady, S::Unknown) => "it is not known whether a relay answers reads",
        (T::Reconciling, _) => "is changing",
        (T::Stalled, _) => "will not change without your action",
        (T::Completed, S::True) => "has ended",
        (T::Completed, S::False) => "has not ended",
        (T::Completed, S::Unknown) => "it is not known whether it has ended",
    }
}

/// What to do about `reason`; `describe` is the advice for reasons without one of their own, and `namespace` is where
/// Trilobite is installed.
pub(crate) fn next(reason: &str, describe: &str, namespace: &str) -> String {
    let fixed = match reason.parse::<Reason>() {
        Ok(Reason::NoStack) => {
            "apply an ObservabilityStack named default: kubectl apply -f config/samples/observabilitystack.yaml"
        }
        Ok(Reason::LayerDisabled) => "switch the layer on in the stack: kubectl edit obs default",
        Ok(Reason::Suspended) => "set spec.suspend to false in the stack: kubectl edit obs default",
        Ok(Reason::NoMatchingNodes) => {
            "compare the stack's spec.runtime.nodeSelector with kubectl get nodes --show-labels"
        }
        Ok(Reason::NoMatchingPods) => "compare spec.podSelector with kubectl get pods --show-labels",
        Ok(Reason::WaitingForAgents | Reason::AgentSilent | Reason::AgentNotReady) => {
            return format!(
                "look at the agents' pods: kubectl -n {namespace} get pods -o wide -l app.kubernetes.io/name=trilobite-node"
            );
        }
        Ok(Reason::Progressing | Reason::RollingOut | Reason::Pending) => {
            return format!(
                "wait; if nothing changes within a minute, look at the operator's logs: kubectl -n {namespace} logs deploy/trilobite-operator"
            );
        }
        Ok(Reason::InvalidSpec | Reason::Unsupported | Reason::NotAccepted | Reason::ProfileTooLarge) => {
            return format!("correct the spec where the message says, then apply it again; {describe}");
        }
        Ok(Reason::NoSuchTracepoint | Reason::NoSuchArgument) => {
            "look for the name on that node in /sys/kernel/tracing/events, and correct the policy"
        }
        Ok(Reason::KernelTooOld | Reason::BtfMissing) => {
            "use a newer kernel there, or leave that node out with the stack's nodeSelector"
        }
        Ok(Reason::RecordsLost) => "give the layer a larger memoryBudgetBytes, or select fewer pods",
        _ => return describe.to_owned(),
    };
    fixed.to_owned()
}

/// What the reason means.
pub(super) fn meaning(reason: &str) -> Option<&'static str> {
    reason.parse::<Reason>().ok().map(Reason::meaning)
}
