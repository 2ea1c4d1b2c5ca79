//! Numbers, bytes and enums as protojson prints them.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    table::{self, Scalar},
    text,
    wire::Value,
};

pub(super) fn append(scalar: Scalar, value: Value<'_>, out: &mut Vec<u8>) {
    let number = value.number();
    match scalar {
        Scalar::Bool => out.extend_from_slice(if number == 0 { b"false" } else { b"true" }),
        Scalar::Int32 => append_signed(low_half(number).into(), out),
        Scalar::Uint32 => append_decimal(number & u64::from(u32::MAX), out),
        Scalar::Int64 => {
            out.push(b'"');
            append_signed(number.cast_signed(), out);
            out.push(b'"');
        }
        Scalar::Uint64 => {
            out.push(b'"');
            append_decimal(number, out);
            out.push(b'"');
        }
        Scalar::Double => append_float(f64::from_bits(number), false, out),
        Scalar::Float => append_float(f64::from(f32::from_bits(low_half(number).cast_unsigned())), true, out),
        Scalar::String => text::append(value.bytes(), out),
        Scalar::Bytes => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(value.bytes()).as_bytes());
            out.push(b'"');
        }
    }
}

/// The key of a map, which is a string in JSON whatever its type.
pub(super) fn append_key(scalar: Scalar, key: Value<'_>, out: &mut Vec<u8>) {
    match scalar {
        Scalar::String | Scalar::Int64 | Scalar::Uint64 | Scalar::Bytes => append(scalar, key, out),
        _ => {
            out.push(b'"');
            append(scalar, key, out);
            out.push(b'"');
        }
    }
}

/// The name of an enum's value, or its number where this version does not know the value.
pub(super) fn append_enum(index: u16, number: u64, out: &mut Vec<u8>) {
    let number = low_half(number);
    match table::enum_value(index, number) {
        Some(name) => out.extend_from_slice(name.value()),
        None => append_signed(number.into(), out),
    }
}

/// Negative 32-bit numbers are ten bytes on the wire.
#[allow(clippy::cast_possible_truncation, reason = "as protobuf prescribes")]
pub(super) fn low_half(number: u64) -> i32 {
    number as i32
}

fn append_signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    append_decimal(number.unsigned_abs(), out);
}

/// Without std's formatting, which takes most of the time of a short number.
pub(super) fn append_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Integers below it are exact: counters, which are most of the numbers.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Go's shortest form: plain between 1e-6 and 1e21, with an exponent beyond.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive integer")]
pub(super) fn append_float(number: f64, single: bool, out: &mut Vec<u8>) {
    let size = number.abs();
    // A Vec never refuses to be written to.
    let _ = match number {
        _ if number.is_nan() => write!(out, "\"NaN\""),
        f64::INFINITY => write!(out, "\"Infinity\""),
        f64::NEG_INFINITY => write!(out, "\"-Infinity\""),
        _ if number.fract() == 0.0 && size < EXACT_INTEGERS && number.is_sign_positive() => {
            append_decimal(number as u64, out);
            Ok(())
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn float(number: f64) -> String {
        let mut out = Vec::new();
        append_float(number, false, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn whole_numbers_have_no_point_and_keep_their_sign() {
        assert_eq!([0.0, -0.0, 5.0, -5.0].map(float), ["0", "-0", "5", "-5"]);
        assert_eq!(
            [EXACT_INTEGERS - 1.0, EXACT_INTEGERS, 1e21].map(float),
            ["9007199254740991", "9007199254740992", "1e+21"]
        );
    }
}
