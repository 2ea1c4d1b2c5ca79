//! What happened to a flow, in the words of `hubble observe`.

use trilobite_untrusted_text::escape;

use crate::flow::{DropReason, Flow, L7FlowType, Policy, TrafficDirection, Verdict, layer7::Record};

/// `event_type.type` of a policy's verdict.
const POLICY_VERDICT: i32 = 5;

/// The flow is what the policies say of a connection.
pub(super) fn is_policy_verdict(flow: &Flow) -> bool {
    flow.event_type.is_some_and(|event| event.r#type == POLICY_VERDICT)
}

/// `policy-verdict:L3-L4 INGRESS`.
pub(super) fn policy_verdict_kind(flow: &Flow) -> String {
    let matched = match flow.policy_match_type {
        0 => "none",
        1 => "L3-Only",
        2 => "L3-L4",
        3 => "L4-Only",
        4 => "all",
        5 => "L3-Proto",
        6 => "Proto-Only",
        _ => "unknown",
    };
    format!("policy-verdict:{matched} {}", flow.traffic_direction().as_str_name())
}

/// `http-request`, `dns-response`; none for a flow that is neither.
pub fn l7_kind(flow: &Flow) -> Option<String> {
    let l7 = flow.l7.as_ref()?;
    let protocol = match &l7.record {
        Some(Record::Http(_)) => "http",
        Some(Record::Dns(_)) => "dns",
        _ => "l7",
    };
    let source = match &l7.record {
        Some(Record::Dns(dns)) if !dns.observation_source.is_empty() => format!(" {}", escape(&dns.observation_source)),
        _ => String::new(),
    };
    let said = match l7.r#type() {
        L7FlowType::Request => "request",
        L7FlowType::Response => "response",
        L7FlowType::Sample => "sample",
        L7FlowType::UnknownL7Type => "unknown",
    };
    Some(format!("{protocol}-{said}{source}"))
}

/// `FORWARDED`, of a policy `ALLOWED`; on request with the policies' names.
pub(super) fn verdict_text(flow: &Flow, with_names: bool) -> String {
    if !is_policy_verdict(flow) {
        return flow.verdict().as_str_name().to_owned();
    }
    let (word, allows) = match flow.verdict() {
        Verdict::Forwarded | Verdict::Redirected => ("ALLOWED", true),
        Verdict::Dropped | Verdict::Error => ("DENIED", false),
        Verdict::Audit => ("AUDITED", false),
        other => return other.as_str_name().to_owned(),
    };
    let policies = policies(flow, allows);
    let named = policies.iter().filter(|policy| with_names && !policy.name.is_empty() && !policy.kind.is_empty());
    let names: Vec<String> =
        named.map(|policy| format!("{} ({})", escape(&policy.name), escape(&policy.kind))).collect();
    if names.is_empty() { word.to_owned() } else { format!("{word} BY {}", names.join(", ")) }
}

/// The policies that allow or deny it, at the side for which the flow has its direction.
pub(super) fn policies(flow: &Flow, allowing: bool) -> &[Policy] {
    match (flow.traffic_direction(), allowing) {
        (TrafficDirection::Egress, true) => &flow.egress_allowed_by,
        (TrafficDirection::Egress, false) => &flow.egress_denied_by,
        (TrafficDirection::Ingress, true) => &flow.ingress_allowed_by,
        (TrafficDirection::Ingress, false) => &flow.ingress_denied_by,
        (TrafficDirection::Unknown, _) => &[],
    }
}

/// `Policy denied`, `CT: Map insertion failed`.
pub(super) fn drop_text(reason: DropReason) -> String {
    match reason {
        DropReason::InvalidPacketDropped => return "Invalid packet".to_owned(),
        DropReason::CtMissingTcpAckFlag => return "Fragmentation needed".to_owned(),
        DropReason::PolicyDeny => return "Policy denied by denylist".to_owned(),
        DropReason::DropRateLimited => return "Rate limited".to_owned(),
        _ => {}
    }
    let name = reason.as_str_name();
    let (prefix, name) = name.strip_prefix("CT_").map_or(("", name), |rest| ("CT: ", rest));
    let mut text = prefix.to_owned();
    for (at, word) in name.split('_').enumerate() {
        if at > 0 {
            text.push(' ');
        }
        let lower = word.to_lowercase();
        match lower.as_str() {
            "fib" | "ttl" | "l2" | "l3" | "l4" | "nat" => text.push_str(word),
            _ if at == 0 => text.extend([&word[..1], &lower[1..]]),
            _ => text.push_str(&lower),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_with_hubble() {
        for (reason, text) in [
            (DropReason::PolicyDenied, "Policy denied"),
            (DropReason::PolicyDeny, "Policy denied by denylist"),
            (DropReason::CtMissingTcpAckFlag, "Fragmentation needed"),
            (DropReason::FibLookupFailed, "FIB lookup failed"),
            (DropReason::TtlExceeded, "TTL exceeded"),
            (DropReason::SocketLookupFailed, "Socket lookup failed"),
            (DropReason::ServiceBackendNotFound, "Service backend not found"),
            (DropReason::UnknownL3TargetAddress, "Unknown L3 target address"),
            (DropReason::InvalidSourceIp, "Invalid source ip"),
            (DropReason::CtMapInsertionFailed, "CT: Map insertion failed"),
            (DropReason::Unknown, "Drop reason unknown"),
        ] {
            assert_eq!(drop_text(reason), text);
        }
    }
}
