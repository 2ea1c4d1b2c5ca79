//! Values of flow filters as `hubble observe` takes them. An error says what is wrong.

use crate::flow::{DropReason, EventTypeFilter, HttpHeader, TcpFlags, TraceObservationPoint, Workload};

/// Identities that are no pod's, by their numbers from 0 on.
pub(crate) const RESERVED: [&str; 9] =
    ["unknown", "host", "world", "unmanaged", "health", "init", "remote-node", "kube-apiserver", "ingress"];

/// `cart`, `Deployment/cart` or `Deployment/`.
pub fn workload(text: &str) -> Result<Workload, String> {
    let (kind, name) = text.split_once('/').unwrap_or(("", text));
    if kind.is_empty() && name.is_empty() {
        return Err("is no workload, e.g. cart, Deployment/cart or Deployment/".into());
    }
    Ok(Workload { kind: kind.into(), name: name.into() })
}

/// A number, or the name of an identity that is no pod's.
pub fn identity(text: &str) -> Result<u32, String> {
    let reserved = (0..).zip(RESERVED).find(|(_, name)| *name == text).map(|(number, _)| number);
    reserved
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("{text:?} is no identity: a number, or one of {}", RESERVED.join(", ")))
}

/// `syn,ack`: all of them.
pub fn tcp_flags(text: &str) -> Result<TcpFlags, String> {
    let mut flags = TcpFlags::default();
    for word in text.split(',') {
        let flag = match word.to_lowercase().as_str() {
            "fin" => &mut flags.fin,
            "syn" => &mut flags.syn,
            "rst" => &mut flags.rst,
            "psh" => &mut flags.psh,
            "ack" => &mut flags.ack,
            "urg" => &mut flags.urg,
            "ece" => &mut flags.ece,
            "cwr" => &mut flags.cwr,
            "ns" => &mut flags.ns,
            _ => return Err(format!("{word:?} is no TCP flag, e.g. syn,ack")),
        };
        *flag = true;
    }
    Ok(flags)
}

/// `drop`, `trace:to-endpoint`; also numbers.
pub fn event_type(text: &str) -> Result<EventTypeFilter, String> {
    let (kind, sub_type) = text.split_once(':').map_or((text, None), |(kind, sub_type)| (kind, Some(sub_type)));
    let number = match kind {
        "drop" => 1,
        "debug" => 2,
        "capture" => 3,
        "trace" => 4,
        "policy-verdict" => 5,
        "trace-sock" => 7,
        "l7" => 129,
        "agent" => 130,
        other => other.parse().map_err(|_| format!("{other:?} is no type, e.g. trace, drop or policy-verdict"))?,
    };
    let Some(sub_type) = sub_type else { return Ok(EventTypeFilter { r#type: number, ..EventTypeFilter::default() }) };
    let point = TraceObservationPoint::from_str_name(&sub_type.to_uppercase().replace('-', "_"));
    let sub_type = match point {
        // As an event's subtype it is 0.
        Some(TraceObservationPoint::ToEndpoint) if number == 4 => 0,
        Some(point) if number == 4 => point.into(),
        _ => sub_type.parse().map_err(|_| format!("{sub_type:?} is no subtype of {kind}"))?,
    };
    Ok(EventTypeFilter { r#type: number, match_sub_type: true, sub_type })
}

/// `Host:cart.store`.
pub fn http_header(text: &str) -> Result<HttpHeader, String> {
    match text.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok(HttpHeader { key: key.into(), value: value.into() }),
        _ => Err(format!("{text:?} is no header, e.g. Host:cart.store")),
    }
}

/// `POLICY_DENIED`, in any case.
pub fn drop_reason(text: &str) -> Result<DropReason, String> {
    DropReason::from_str_name(&text.to_uppercase())
        .ok_or_else(|| format!("{text:?} is no reason of a drop, e.g. POLICY_DENIED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_has_the_numbers_of_hubble() {
        let of = |kind, sub_type: Option<i32>| EventTypeFilter {
            r#type: kind,
            match_sub_type: sub_type.is_some(),
            sub_type: sub_type.unwrap_or_default(),
        };
        for (text, expected) in [
            ("drop", of(1, None)),
            ("policy-verdict", of(5, None)),
            ("trace:to-endpoint", of(4, Some(0))),
            ("trace:to-stack", of(4, Some(3))),
            ("drop:133", of(1, Some(133))),
            ("129", of(129, None)),
        ] {
            assert_eq!(event_type(text), Ok(expected), "{text}");
        }
        for text in ["dropped", "trace:nowhere", "drop:to-stack", ""] {
            assert!(event_type(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_read_as_hubble_reads_them() {
        assert_eq!((identity("world"), identity("1001")), (Ok(2), Ok(1001)));
        assert!(identity("wolrd").unwrap_err().contains("world"));
        assert_eq!(tcp_flags("SYN,ack"), Ok(TcpFlags { syn: true, ack: true, ..TcpFlags::default() }));
        assert!(tcp_flags("syn,").is_err());
        let header = HttpHeader { key: "Host".into(), value: "cart:80".into() };
        assert_eq!(http_header("Host:cart:80"), Ok(header));
        assert!(http_header("Host").is_err() && http_header(":cart").is_err());
        assert_eq!(workload("Deployment/"), Ok(Workload { kind: "Deployment".into(), name: String::new() }));
        assert_eq!(workload("cart"), Ok(Workload { kind: String::new(), name: "cart".into() }));
        assert!(workload("/").is_err());
        assert_eq!(drop_reason("policy_denied"), Ok(DropReason::PolicyDenied));
        assert!(drop_reason("lost").is_err());
    }
}
