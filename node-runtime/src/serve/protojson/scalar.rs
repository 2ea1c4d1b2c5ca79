//! How protojson prints what is not a message of its own: numbers, strings, bytes, enums, times.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::{
    schema::{self, Scalar},
    wire::{Fields, Value},
};

pub(super) fn append(of: Scalar, value: Value<'_>, out: &mut Vec<u8>) {
    let number = value.number();
    // A Vec never refuses to be written to.
    let _ = match of {
        Scalar::Bool => write!(out, "{}", number != 0),
        Scalar::Int32 => write!(out, "{}", low(number)),
        Scalar::Uint32 => write!(out, "{}", number & u64::from(u32::MAX)),
        Scalar::Int64 => write!(out, "\"{}\"", number.cast_signed()),
        Scalar::Uint64 => write!(out, "\"{number}\""),
        Scalar::Double => return float(f64::from_bits(number), false, out),
        Scalar::Float => return float(f64::from(f32::from_bits(low(number).cast_unsigned())), true, out),
        Scalar::String => return string(&String::from_utf8_lossy(value.bytes()), out),
        Scalar::Bytes => write!(out, "\"{}\"", STANDARD.encode(value.bytes())),
    };
}

/// The key of a map, which JSON wants as a string whatever its type.
pub(super) fn append_key(of: Scalar, key: Value<'_>, out: &mut Vec<u8>) {
    match of {
        Scalar::String | Scalar::Int64 | Scalar::Uint64 | Scalar::Bytes => append(of, key, out),
        _ => {
            out.push(b'"');
            append(of, key, out);
            out.push(b'"');
        }
    }
}

pub(super) fn append_enum(of: u16, number: u64, out: &mut Vec<u8>) {
    let number = low(number);
    let _ = match schema::value_name(of, number) {
        Some(name) => write!(out, "\"{name}\""),
        None => write!(out, "{number}"),
    };
}

pub(super) fn append_timestamp(encoded: &[u8], out: &mut Vec<u8>) {
    let (seconds, nanos) = seconds_and_nanos(encoded);
    let time = Timestamp::new(seconds, nanos).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
    let whole = time.split(['.', 'Z']).next().unwrap_or_default();
    let _ = write!(out, "\"{whole}");
    fraction(nanos, out);
    out.extend_from_slice(b"Z\"");
}

pub(super) fn append_duration(encoded: &[u8], out: &mut Vec<u8>) {
    let (seconds, nanos) = seconds_and_nanos(encoded);
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let _ = write!(out, "\"{sign}{}", seconds.unsigned_abs());
    fraction(nanos, out);
    out.extend_from_slice(b"s\"");
}

/// Nothing, or three, six or nine digits.
fn fraction(nanos: i32, out: &mut Vec<u8>) {
    let nanos = nanos.unsigned_abs();
    let _ = match nanos {
        0 => Ok(()),
        _ if nanos.is_multiple_of(1_000_000) => write!(out, ".{:03}", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => write!(out, ".{:06}", nanos / 1_000),
        _ => write!(out, ".{nanos:09}"),
    };
}

fn seconds_and_nanos(encoded: &[u8]) -> (i64, i32) {
    Fields(encoded).fold((0, 0), |(seconds, nanos), (number, value)| match number {
        1 => (value.number().cast_signed(), nanos),
        2 => (seconds, low(value.number())),
        _ => (seconds, nanos),
    })
}

/// The low half: negative 32-bit numbers are ten bytes on the wire.
#[allow(clippy::cast_possible_truncation, reason = "what protobuf prescribes")]
fn low(number: u64) -> i32 {
    number as i32
}

/// A double by itself.
pub(super) fn number(number: f64, out: &mut Vec<u8>) {
    float(number, false, out);
}

/// Go's shortest form: plain between 1e-6 and 1e21, with an exponent beyond.
fn float(number: f64, single: bool, out: &mut Vec<u8>) {
    let size = number.abs();
    let _ = match number {
        _ if number.is_nan() => write!(out, "\"NaN\""),
        f64::INFINITY => write!(out, "\"Infinity\""),
        f64::NEG_INFINITY => write!(out, "\"-Infinity\""),
        _ if size != 0.0 && !(1e-6..1e21).contains(&size) => {
            let text = if single { format!("{:e}", number as f32) } else { format!("{number:e}") };
            let sign = if text.contains("e-") { "" } else { "+" };
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            write!(out, "{mantissa}e{sign}{exponent}")
        }
        _ if single => write!(out, "{}", number as f32),
        _ => write!(out, "{number}"),
    };
}

pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain..at]);
        plain = at + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
    out.push(b'"');
}
