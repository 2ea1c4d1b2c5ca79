//! `google.protobuf.Any`. Printing any type would need a registry of types; ours hold a `google.protobuf.Struct`, and
//! of other types only the type's name is printed. Reads the wire format of Struct, Value and ListValue directly.

use super::{
    scalar, text,
    wire::{Fields, Value},
};

const STRUCT: &[u8] = b"type.googleapis.com/google.protobuf.Struct";

pub(super) fn append(encoded: &[u8], depth: u8, out: &mut Vec<u8>) {
    let member = |number| Fields(encoded).last_of(number).map(|value| value.bytes()).unwrap_or_default();
    let (type_url, value) = (member(1), member(2));
    out.extend_from_slice(b"{\"@type\":");
    text::append(type_url, out);
    if type_url == STRUCT {
        out.extend_from_slice(b",\"value\":");
        append_struct(value, depth, out);
    }
    out.push(b'}');
}

/// Members in the order of their names.
fn append_struct(encoded: &[u8], depth: u8, out: &mut Vec<u8>) {
    let mut members: Vec<(&[u8], &[u8])> = Fields(encoded)
        .filter(|(number, _)| *number == 1)
        .map(|(_, entry)| {
            let member = |number| Fields(entry.bytes()).last_of(number).map(|value| value.bytes()).unwrap_or_default();
            (member(1), member(2))
        })
        .collect();
    members.sort_by_key(|(name, _)| *name);
    out.push(b'{');
    for (at, (name, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text::append(name, out);
        out.push(b':');
        append_value(value, depth, out);
    }
    out.push(b'}');
}

fn append_value(encoded: &[u8], depth: u8, out: &mut Vec<u8>) {
    // The members of Value's oneof; the last one on the wire counts.
    match Fields(encoded).last() {
        Some((2, Value::Fixed64(bits))) => scalar::append_float(f64::from_bits(bits), false, out),
        Some((3, Value::Bytes(text))) => text::append(text, out),
        Some((4, Value::Varint(value))) => out.extend_from_slice(if value == 0 { b"false" } else { b"true" }),
        Some((5, Value::Bytes(inner))) if depth > 0 => append_struct(inner, depth - 1, out),
        Some((6, Value::Bytes(list))) if depth > 0 => {
            out.push(b'[');
            for (at, (_, value)) in Fields(list).filter(|(number, _)| *number == 1).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                append_value(value.bytes(), depth - 1, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{Any, ListValue, Struct, Value, value::Kind};

    use super::*;

    const URL: &str = "type.googleapis.com/google.protobuf.Struct";

    fn printed(any: &Any) -> String {
        let mut out = Vec::new();
        append(&any.encode_to_vec(), 32, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    #[test]
    fn struct_is_printed_with_its_type_as_go_does() {
        let fields = [
            ("bytes".to_owned(), value(Kind::NumberValue(74.0))),
            ("reason".to_owned(), value(Kind::StringValue("new".to_owned()))),
        ];
        let any = Any { type_url: URL.to_owned(), value: Struct { fields: fields.into() }.encode_to_vec() };
        assert_eq!(
            printed(&any),
            r#"{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"bytes":74,"reason":"new"}}"#
        );
    }

    #[test]
    fn every_kind_of_value_is_printed() {
        let inner = Struct { fields: [("on".to_owned(), value(Kind::BoolValue(false)))].into() };
        let values = vec![value(Kind::NullValue(0)), value(Kind::NumberValue(0.0)), value(Kind::StructValue(inner))];
        let fields = [("list".to_owned(), value(Kind::ListValue(ListValue { values })))];
        let any = Any { type_url: URL.to_owned(), value: Struct { fields: fields.into() }.encode_to_vec() };
        assert!(printed(&any).ends_with(r#""value":{"list":[null,0,{"on":false}]}}"#), "{}", printed(&any));
    }

    #[test]
    fn only_the_type_is_printed_of_another_type() {
        let any = Any { type_url: "type.googleapis.com/a.B".to_owned(), value: vec![0xff; 9] };
        assert_eq!(printed(&any), r#"{"@type":"type.googleapis.com/a.B"}"#);
    }
}
