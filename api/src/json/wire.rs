//! Reads protobuf's wire format one field after the other. Reading ends where the bytes are cut short; it never panics.

/// A field's value as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The number in any of the three encodings; zero for bytes.
    pub(crate) fn number(&self) -> u64 {
        match *self {
            Value::Varint(number) | Value::Fixed64(number) => number,
            Value::Fixed32(number) => u64::from(number),
            Value::Bytes(_) => 0,
        }
    }

    /// The bytes; empty for a number.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

/// The fields of one message: numbers and values.
#[derive(Clone)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The value of a singular field: the last one, if the field occurs more than once.
    pub(crate) fn last_of(self, number: u32) -> Option<Value<'a>> {
        self.filter(|(found, _)| *found == number).last().map(|(_, value)| value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = split_varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).ok()?;
        let value = match key & 7 {
            0 => Value::Varint(split_varint(&mut self.0)?),
            1 => Value::Fixed64(u64::from_le_bytes(split_bytes(&mut self.0, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(split_varint(&mut self.0)?).ok()?;
                Value::Bytes(split_bytes(&mut self.0, length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(split_bytes(&mut self.0, 4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((number, value))
    }
}

/// Splits a base-128 number off the front.
pub(crate) fn split_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn split_bytes<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(front)
}

/// Appends a field unchanged.
pub(crate) fn append_field(number: u32, value: Value<'_>, out: &mut Vec<u8>) {
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
