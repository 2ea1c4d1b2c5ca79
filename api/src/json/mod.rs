//! The JSON form of messages, byte for byte what Go's `protojson` writes with `UseProtoNames` (our own messages: without it, in
//! camel case), on one line and without its random blanks: fields in the order of the `.proto` text, 64-bit numbers as strings,
//! enums by name, unset fields left out.

mod any;
mod read;
mod scalar;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod text;
mod time;
pub mod tree;
pub(crate) mod wire;

pub use read::{ReadError, read};
pub use table::JsonMessage;

use std::ops::Range;

use table::{Kind, Scalar, Shape};
use wire::{Fields, Value};

/// Nested messages are printed to this depth, which no interface of ours reaches; it keeps a long chain of parents and
/// hostile bytes from using up the stack.
const MAX_DEPTH: u8 = 32;

/// Appends `message` as one JSON object, without an end of line.
pub fn append<M: JsonMessage>(message: &M, out: &mut Vec<u8>) {
    append_encoded::<M>(&message.encode_to_vec(), out);
}

/// `message` as one JSON object.
pub fn to_string<M: JsonMessage>(message: &M) -> String {
    let mut out = Vec::new();
    append(message, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The same from the bytes of an encoded `M`.
pub fn append_encoded<M: JsonMessage>(encoded: &[u8], out: &mut Vec<u8>) {
    Printer { present: Vec::with_capacity(64), out }.object(M::MESSAGE, encoded, MAX_DEPTH);
}

struct Printer<'a, 'out> {
    /// A stack: the fields of the message that is being printed, above those of the messages around it.
    present: Vec<(u32, Value<'a>)>,
    out: &'out mut Vec<u8>,
}

impl<'a> Printer<'a, '_> {
    fn object(&mut self, message: u16, encoded: &'a [u8], depth: u8) {
        self.out.push(b'{');
        if depth > 0 {
            let first = self.present.len();
            self.present.extend(Fields(encoded));
            let end = self.present.len();
            // Our encoder writes fields in the order of their numbers; others need not.
            if !self.present[first..].is_sorted_by_key(|(number, _)| *number) {
                self.present[first..].sort_by_key(|(number, _)| *number);
            }
            // Most fields of a message are unset: a bit for each number (modulo 64) tells at once.
            let bit = |number: u32| 1u64 << (number % 64);
            let numbers = self.present[first..].iter().fold(0, |bits, (number, _)| bits | bit(*number));
            let start = self.out.len();
            let mut next = first;
            for field in table::fields(message) {
                if numbers & bit(field.number) == 0 {
                    continue;
                }
                let is_field = |at: usize| at < end && self.present[at].0 == field.number;
                // The order of the table is mostly the order of the numbers.
                if !is_field(next) {
                    next = first + self.present[first..end].partition_point(|(number, _)| *number < field.number);
                }
                let begin = next;
                while is_field(next) {
                    next += 1;
                }
                if begin == next {
                    continue;
                }
                let is_first = self.out.len() == start;
                self.out.extend_from_slice(&field.name.key()[usize::from(is_first)..]);
                match field.shape {
                    // A singular field that occurs twice on the wire counts as its last.
                    Shape::Singular => self.value(field.kind, self.present[next - 1].1, depth),
                    Shape::Repeated => self.list(field.kind, begin..next, depth),
                    Shape::Map(key) => self.map(key, field.kind, begin..next, depth),
                }
            }
            self.present.truncate(first);
        }
        self.out.push(b'}');
    }

    fn value(&mut self, kind: Kind, value: Value<'a>, depth: u8) {
        match kind {
            Kind::Scalar(scalar) => scalar::append(scalar, value, self.out),
            Kind::Wrapper(scalar) => {
                let inner = Fields(value.bytes()).last_of(1);
                scalar::append(scalar, inner.unwrap_or(Value::Bytes(&[])), self.out);
            }
            Kind::Enum(index) => scalar::append_enum(index, value.number(), self.out),
            Kind::Message(message) => self.object(message, value.bytes(), depth - 1),
            Kind::Timestamp => time::append_timestamp(value.bytes(), self.out),
            Kind::Duration => time::append_duration(value.bytes(), self.out),
            Kind::Any => any::append(value.bytes(), depth, self.out),
        }
    }

    fn list(&mut self, kind: Kind, range: Range<usize>, depth: u8) {
        self.out.push(b'[');
        let start = self.out.len();
        for at in range {
            let value = self.present[at].1;
            match (kind, value) {
                (Kind::Enum(_), Value::Bytes(packed)) => self.packed(kind, None, packed, start),
                (Kind::Scalar(scalar), Value::Bytes(packed)) if !matches!(scalar, Scalar::String | Scalar::Bytes) => {
                    self.packed(kind, Some(scalar), packed, start);
                }
                _ => self.element(kind, value, depth, start),
            }
        }
        self.out.push(b']');
    }

    fn element(&mut self, kind: Kind, value: Value<'a>, depth: u8, start: usize) {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.value(kind, value, depth);
    }

    /// Numbers of a repeated field that are packed into one field on the wire.
    fn packed(&mut self, kind: Kind, scalar: Option<Scalar>, mut packed: &'a [u8], start: usize) {
        loop {
            let value = match scalar {
                Some(Scalar::Double) => packed.split_first_chunk().map(|(number, rest)| {
                    packed = rest;
                    Value::Fixed64(u64::from_le_bytes(*number))
                }),
                Some(Scalar::Float) => packed.split_first_chunk().map(|(number, rest)| {
                    packed = rest;
                    Value::Fixed32(u32::from_le_bytes(*number))
                }),
                _ => wire::split_varint(&mut packed).map(Value::Varint),
            };
            match value {
                Some(value) => self.element(kind, value, 0, start),
                None => return,
            }
        }
    }

    /// Entries in the order of their keys.
    fn map(&mut self, key: Scalar, kind: Kind, range: Range<usize>, depth: u8) {
        let mut entries: Vec<(Value<'a>, Value<'a>)> = self.present[range]
            .iter()
            .map(|(_, entry)| {
                let member = |number| Fields(entry.bytes()).last_of(number).unwrap_or(Value::Bytes(&[]));
                (member(1), member(2))
            })
            .collect();
        match key {
            Scalar::Int32 | Scalar::Int64 => entries.sort_by_key(|(key, _)| key.number().cast_signed()),
            Scalar::String => entries.sort_by_key(|(key, _)| key.bytes()),
            _ => entries.sort_by_key(|(key, _)| key.number()),
        }
        self.out.push(b'{');
        for (at, (name, value)) in entries.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            scalar::append_key(key, name, self.out);
            self.out.push(b':');
            self.value(kind, value, depth);
        }
        self.out.push(b'}');
    }
}
