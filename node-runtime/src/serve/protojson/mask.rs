//! Which fields of an encoded message are wanted: paths as a tree, applied to the bytes.

use super::{
    schema,
    wire::{Fields, Value},
};

/// Paths as a tree; `whole` where a path ends.
#[derive(Default)]
pub(in crate::serve) struct Mask {
    whole: bool,
    below: Vec<(u32, Mask)>,
}

impl Mask {
    /// Adds the path with these numbers.
    pub(in crate::serve) fn add(&mut self, steps: &[u32]) {
        match steps.split_first() {
            None => self.whole = true,
            Some((number, rest)) => child(&mut self.below, *number).add(rest),
        }
    }
}

/// The mask below a field, made where there is none.
pub(in crate::serve) fn child(of: &mut Vec<(u32, Mask)>, number: u32) -> &mut Mask {
    let at = of.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
        of.push((number, Mask::default()));
        of.len() - 1
    });
    &mut of[at].1
}

/// What `mask` names, or with `exclude` all but that.
pub(in crate::serve) fn filtered(encoded: &[u8], mask: &Mask, exclude: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    for (number, value) in Fields(encoded) {
        match mask.below.iter().find(|(of, _)| *of == number).map(|(_, mask)| mask) {
            Some(below) if !below.whole => {
                append(number, Value::Bytes(&filtered(value.bytes(), below, exclude)), &mut out);
            }
            named => {
                if named.is_some() != exclude {
                    append(number, value, &mut out);
                }
            }
        }
    }
    out
}

/// The numbers of the fields along a path; nothing where the message has no such path.
pub(in crate::serve) fn resolve(message: u16, path: &str) -> Option<Vec<u32>> {
    let mut steps = Vec::new();
    let mut within = Some(message);
    for segment in path.split('.') {
        let (number, inner) = schema::field(within?, segment)?;
        steps.push(number);
        within = inner;
    }
    Some(steps)
}

/// Appends a field as it stood.
pub(in crate::serve) fn append(number: u32, value: Value<'_>, out: &mut Vec<u8>) {
    use prost::encoding::{WireType, encode_key, encode_varint};
    match value {
        Value::Varint(value) => {
            encode_key(number, WireType::Varint, out);
            encode_varint(value, out);
        }
        Value::Fixed64(value) => {
            encode_key(number, WireType::SixtyFourBit, out);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Fixed32(value) => {
            encode_key(number, WireType::ThirtyTwoBit, out);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Bytes(value) => {
            encode_key(number, WireType::LengthDelimited, out);
            encode_varint(value.len() as u64, out);
            out.extend_from_slice(value);
        }
    }
}
