//! `google.protobuf.Any`: a registry of types would be needed to print just any; ours hold a `google.protobuf.Struct`, and of
//! another only the type is printed.

use prost::Message;
use prost_types::{Any, ListValue, Struct, Value, value::Kind};

use super::{
    DEEPEST,
    scalar::{number, string},
};

const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

pub(super) fn append(encoded: &[u8], out: &mut Vec<u8>) {
    let any = Any::decode(encoded).unwrap_or_default();
    out.extend_from_slice(b"{\"@type\":");
    string(&any.type_url, out);
    if any.type_url == STRUCT
        && let Ok(of) = Struct::decode(&*any.value)
    {
        out.extend_from_slice(b",\"value\":");
        object(&of, DEEPEST, out);
    }
    out.push(b'}');
}

fn object(of: &Struct, depth: u8, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (name, member)) in of.fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(name, out);
        out.push(b':');
        value(member, depth, out);
    }
    out.push(b'}');
}

fn value(of: &Value, depth: u8, out: &mut Vec<u8>) {
    match &of.kind {
        Some(Kind::NumberValue(value)) => number(*value, out),
        Some(Kind::StringValue(text)) => string(text, out),
        Some(Kind::BoolValue(value)) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Some(Kind::StructValue(of)) if depth > 0 => object(of, depth - 1, out),
        Some(Kind::ListValue(ListValue { values })) if depth > 0 => {
            out.push(b'[');
            for (at, member) in values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                value(member, depth - 1, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_is_printed_with_its_type_as_go_does() {
        let fields = [
            ("bytes".to_owned(), Value { kind: Some(Kind::NumberValue(74.0)) }),
            ("reason".to_owned(), Value { kind: Some(Kind::StringValue("new".to_owned())) }),
        ];
        let any = Any { type_url: STRUCT.to_owned(), value: Struct { fields: fields.into() }.encode_to_vec() };
        let mut out = Vec::new();
        append(&any.encode_to_vec(), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"bytes":74,"reason":"new"}}"#
        );
    }

    #[test]
    fn of_another_type_only_the_type_is_printed() {
        let any = Any { type_url: "type.googleapis.com/a.B".to_owned(), value: vec![0xff; 9] };
        let mut out = Vec::new();
        append(&any.encode_to_vec(), &mut out);
        assert_eq!(out, br#"{"@type":"type.googleapis.com/a.B"}"#);
    }
}
