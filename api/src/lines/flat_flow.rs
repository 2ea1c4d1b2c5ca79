//! A flow as one flat JSON object: its fields at the top, with the ports at the ends and the policies by name.

use serde_json::{Map, Value};

use super::{flow::ports, flow_event::policies};
use crate::{
    flow::{Flow, Policy, Verdict},
    json,
};

/// `.source.pod_name`, `.destination.port`, `.verdict`, `.policy`, `.drop_reason_desc` and all other fields of a flow.
pub fn flat(flow: &Flow) -> String {
    // What was just written can be read.
    let mut object: Map<String, Value> = serde_json::from_str(&json::to_string(flow)).unwrap_or_default();
    let (source, destination) = ports(flow.l4.as_ref());
    for (end, port) in [("source", source), ("destination", destination)] {
        if let Some(port) = port {
            let end = object.entry(end).or_insert_with(|| Value::Object(Map::new()));
            if let Some(end) = end.as_object_mut() {
                end.insert("port".to_owned(), port.into());
            }
        }
    }
    let decided_by = policies(flow, matches!(flow.verdict(), Verdict::Forwarded | Verdict::Redirected));
    if !decided_by.is_empty() {
        let names: Vec<String> = decided_by.iter().map(policy_name).collect();
        object.insert("policy".to_owned(), names.join(", ").into());
    }
    Value::Object(object).to_string()
}

fn policy_name(Policy { name, namespace, .. }: &Policy) -> String {
    if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{
        DropReason, Endpoint, Layer4, Tcp, TrafficDirection,
        layer4::Protocol::{self, IcmPv4},
    };

    fn denied() -> Flow {
        let policy = |name: &str, namespace: &str| Policy {
            name: name.into(),
            namespace: namespace.into(),
            ..Policy::default()
        };
        let end = |pod: &str| Some(Endpoint { namespace: "shop".into(), pod_name: pod.into(), ..Endpoint::default() });
        let tcp = Tcp { source_port: 40_000, destination_port: 443, flags: None };
        Flow {
            verdict: Verdict::Dropped.into(),
            drop_reason_desc: DropReason::PolicyDenied.into(),
            traffic_direction: TrafficDirection::Ingress.into(),
            source: end("till-1"),
            destination: end("shelf-1"),
            l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
            ingress_denied_by: vec![policy("default-deny", "shop"), policy("lockdown", "")],
            ..Flow::default()
        }
    }

    fn value(flow: &Flow, pointer: &str) -> Option<Value> {
        serde_json::from_str::<Value>(&flat(flow)).unwrap().pointer(pointer).cloned()
    }

    #[test]
    fn fields_of_a_drop_are_where_jq_looks_for_them() {
        for (pointer, expected) in [
            ("/source/pod_name", Value::from("till-1")),
            ("/source/port", 40_000.into()),
            ("/destination/pod_name", "shelf-1".into()),
            ("/destination/port", 443.into()),
            ("/verdict", "DROPPED".into()),
            ("/drop_reason_desc", "POLICY_DENIED".into()),
            ("/policy", "shop/default-deny, lockdown".into()),
        ] {
            assert_eq!(value(&denied(), pointer), Some(expected), "{pointer}");
        }
        assert!(!flat(&denied()).contains('\n'));
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        let ping = Flow {
            l4: Some(Layer4 { protocol: Some(IcmPv4(Default::default())) }),
            ingress_denied_by: Vec::new(),
            ..denied()
        };
        assert_eq!((value(&ping, "/destination/port"), value(&ping, "/policy")), (None, None));
        let nameless = Flow { source: None, ..denied() };
        assert_eq!(value(&nameless, "/source/port"), Some(40_000.into()));
    }
}
