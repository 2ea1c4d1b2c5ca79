//! Protobuf's JSON exactly as Go's `protojson` writes it with `UseProtoNames`, on one line and without its random blanks:
//! fields in the order of the `.proto` text, 64-bit numbers as strings, enums by name, what is unset left out.

mod any;
pub(in crate::serve) mod mask;
mod scalar;
pub(in crate::serve) mod schema;
#[cfg(test)]
mod tests;
pub(in crate::serve) mod wire;

pub use schema::Printed;

use schema::{Field, Kind, Scalar, Shape};
use wire::{Fields, Value};

/// Messages inside messages are printed to this depth, which is beyond anything that the interfaces can hold but keeps a
/// chain of parents or of hostile bytes from using up the stack.
const DEEPEST: u8 = 32;

/// Appends `message` as one JSON object, without a line's end.
pub fn append<M: Printed>(message: &M, out: &mut Vec<u8>) {
    append_encoded::<M>(&message.encode_to_vec(), out);
}

/// As `append`, from the bytes of an encoded `M`.
pub fn append_encoded<M: Printed>(encoded: &[u8], out: &mut Vec<u8>) {
    object(M::INDEX, encoded, DEEPEST, out);
}

fn object(message: u16, encoded: &[u8], depth: u8, out: &mut Vec<u8>) {
    out.push(b'{');
    if depth > 0 {
        let present: Vec<(u32, Value<'_>)> = Fields(encoded).collect();
        let mut first = true;
        for field in schema::fields(message) {
            let mut values = present.iter().filter(|(number, _)| *number == field.number).map(|(_, value)| value);
            if values.clone().next().is_none() {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.push(b'"');
            out.extend_from_slice(field.name.text().as_bytes());
            out.extend_from_slice(b"\":");
            match field.shape {
                // A singular field that stands twice on the wire counts as its last.
                Shape::One => one(field.kind, values.next_back().copied(), depth, out),
                Shape::Many => many(field, values, depth, out),
                Shape::Map(key) => map(key, field.kind, values, depth, out),
            }
        }
    }
    out.push(b'}');
}

fn one(kind: Kind, value: Option<Value<'_>>, depth: u8, out: &mut Vec<u8>) {
    let value = value.unwrap_or(Value::Bytes(&[]));
    match kind {
        Kind::Scalar(of) => scalar::append(of, value, out),
        Kind::Wrapper(of) => {
            let inner = Fields(value.bytes()).filter(|(number, _)| *number == 1).last();
            scalar::append(of, inner.map_or(Value::Bytes(&[]), |(_, inner)| inner), out);
        }
        Kind::Enum(of) => scalar::append_enum(of, value.number(), out),
        Kind::Message(of) => object(of, value.bytes(), depth - 1, out),
        Kind::Timestamp => scalar::append_timestamp(value.bytes(), out),
        Kind::Duration => scalar::append_duration(value.bytes(), out),
        Kind::Any => any::append(value.bytes(), out),
    }
}

fn many<'a>(field: &Field, values: impl Iterator<Item = &'a Value<'a>>, depth: u8, out: &mut Vec<u8>) {
    let mut separator = b'[';
    let mut element = |value: Value<'_>, out: &mut Vec<u8>| {
        out.push(separator);
        separator = b',';
        one(field.kind, Some(value), depth, out);
    };
    for value in values {
        match (field.kind, value) {
            (Kind::Enum(_), Value::Bytes(packed)) => unpack(None, packed, |value| element(value, out)),
            (Kind::Scalar(of), Value::Bytes(packed)) if !matches!(of, Scalar::String | Scalar::Bytes) => {
                unpack(Some(of), packed, |value| element(value, out));
            }
            _ => element(*value, out),
        }
    }
    if separator == b'[' {
        out.push(b'[');
    }
    out.push(b']');
}

/// Numbers of a repeated field stand one after the other in one field on the wire.
fn unpack(of: Option<Scalar>, mut packed: &[u8], mut each: impl FnMut(Value<'_>)) {
    loop {
        let value = match of {
            Some(Scalar::Double) => packed.split_first_chunk().map(|(number, rest)| {
                packed = rest;
                Value::Fixed64(u64::from_le_bytes(*number))
            }),
            Some(Scalar::Float) => packed.split_first_chunk().map(|(number, rest)| {
                packed = rest;
                Value::Fixed32(u32::from_le_bytes(*number))
            }),
            _ => wire::varint(&mut packed).map(Value::Varint),
        };
        match value {
            Some(value) => each(value),
            None => return,
        }
    }
}

fn map<'a>(key: Scalar, kind: Kind, values: impl Iterator<Item = &'a Value<'a>>, depth: u8, out: &mut Vec<u8>) {
    let mut entries: Vec<(Value<'_>, Option<Value<'_>>)> = values
        .map(|entry| {
            let find = |wanted| Fields(entry.bytes()).filter(|(number, _)| *number == wanted).last();
            (find(1).map_or(Value::Bytes(&[]), |(_, key)| key), find(2).map(|(_, value)| value))
        })
        .collect();
    match key {
        Scalar::Int32 | Scalar::Int64 => entries.sort_by_key(|(key, _)| key.number().cast_signed()),
        Scalar::String => entries.sort_by_key(|(key, _)| key.bytes()),
        _ => entries.sort_by_key(|(key, _)| key.number()),
    }
    let mut separator = b'{';
    for (name, value) in entries {
        out.push(separator);
        separator = b',';
        scalar::append_key(key, name, out);
        out.push(b':');
        one(kind, value, depth, out);
    }
    out.push(b'}');
}
