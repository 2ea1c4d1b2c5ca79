//! What Hubble's message has no fields for, in a well-known type, because its clients cannot print others.

use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use trilobite_node_ebpf::FlowReason;

use super::hexadecimal::append_hex;
use crate::layers::network::flow::{Dropped, Event, Flow, Forwarded};

type Field = (&'static str, Value);

pub(super) fn extensions(flow: &Flow) -> prost_types::Any {
    let mut fields = match &flow.event {
        Event::Forwarded(forwarded) => counts(forwarded),
        Event::Dropped(dropped) => kernel_drop(dropped),
        Event::PolicyVerdict(_) | Event::L7(_) => Vec::new(),
    };
    // Of a request whose socket is not known it is 0.
    if flow.connection != 0 {
        fields.push(("connection", text(connection(flow.connection))));
    }
    if flow.is_direction_a_guess {
        fields.push(("direction", text("guess".to_owned())));
    }
    let of = Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() };
    prost_types::Any { type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(), value: of.encode_to_vec() }
}

fn counts(forwarded: &Forwarded) -> Vec<Field> {
    let Forwarded { reason, first, last, since, total, icmp_error, .. } = forwarded;
    let mut fields = vec![
        ("bytes", number(since.bytes)),
        ("bytes_total", number(total.bytes)),
        ("packets", number(since.packets)),
        ("packets_total", number(total.packets)),
        ("reason", text(format!("{reason:?}").to_lowercase())),
    ];
    // Such a record is made when the sweep comes by, or another packet.
    if matches!(reason, FlowReason::End | FlowReason::Active | FlowReason::Error) {
        fields.extend([("first", text(first.to_string())), ("last", text(last.to_string()))]);
    }
    if let Some(error) = icmp_error {
        fields.push(("error", text(error.text())));
    }
    fields
}

fn kernel_drop(dropped: &Dropped) -> Vec<Field> {
    let Dropped { kernel_reason, place, packets, bytes, .. } = dropped;
    let mut fields = vec![("bytes", number(*bytes)), ("packets", number(*packets))];
    for (name, value) in [("kernel_reason", kernel_reason), ("place", place)] {
        if !value.is_empty() {
            fields.push((name, text(value.to_string())));
        }
    }
    fields
}

/// Numbers of JSON are exact up to 2^53: nine petabytes.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn number(number: u64) -> Value {
    Value { kind: Some(Kind::NumberValue(number as f64)) }
}

fn text(text: String) -> Value {
    Value { kind: Some(Kind::StringValue(text)) }
}

fn connection(key: u64) -> String {
    let mut text = String::with_capacity(16);
    append_hex(&key.to_be_bytes(), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::{
        flow::samples::{drop_by_policy, forwarded, syn},
        icmp_error::IcmpError,
    };

    fn extension(flow: &Flow, name: &str) -> Option<String> {
        let of = Struct::decode(extensions(flow).value.as_slice()).unwrap();
        match of.fields.get(name)?.kind.as_ref()? {
            Kind::StringValue(text) => Some(text.clone()),
            Kind::NumberValue(number) => Some(number.to_string()),
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn connection_is_hexadecimal_with_all_digits() {
        assert_eq!(connection(0x1f), "000000000000001f");
    }

    #[test]
    fn end_has_the_times_of_the_first_and_last_packet() {
        let mut flow = syn();
        assert_eq!(extension(&flow, "last"), None);
        forwarded(&mut flow).reason = FlowReason::End;
        forwarded(&mut flow).first = "2026-11-22T12:46:20.5Z".parse().unwrap();
        assert_eq!(extension(&flow, "first").as_deref(), Some("2026-11-22T12:46:20.5Z"));
        assert_eq!(extension(&flow, "last").as_deref(), Some("2026-11-22T12:46:23.248000001Z"));
    }

    #[test]
    fn guessed_direction_and_icmp_error_are_marked() {
        let mut flow = syn();
        assert_eq!((extension(&flow, "direction"), extension(&flow, "error")), (None, None));
        flow.is_direction_a_guess = true;
        forwarded(&mut flow).icmp_error = Some(IcmpError { is_v6: true, kind: 1, code: 4 });
        assert_eq!(extension(&flow, "direction").as_deref(), Some("guess"));
        assert_eq!(extension(&flow, "error").as_deref(), Some("port unreachable"));
    }

    #[test]
    fn drop_has_the_kernels_reason_and_place_and_its_count() {
        let mut flow = drop_by_policy();
        for (name, value) in [
            ("kernel_reason", "NETFILTER_DROP"),
            ("place", "nft_do_chain"),
            ("packets", "3"),
            ("bytes", "180"),
            ("connection", "0000000000000063"),
        ] {
            assert_eq!(extension(&flow, name).as_deref(), Some(value), "{name}");
        }
        if let Event::Dropped(dropped) = &mut flow.event {
            dropped.kernel_reason = "".into();
        }
        assert_eq!(extension(&flow, "kernel_reason"), None, "a kernel before 5.17 has none");
    }
}
