//! The values of a tracepoint out of its record.

use std::mem::offset_of;

use trilobite_node_ebpf::{
    record::{Record, RecordKind},
    tracepoint::{STRINGS, SYSCALL_COMPAT, TracepointRecord},
};

use super::args::{Reading, Shown};
use crate::{identity::decode::header, kernel::Fields, layers::security::ArgValue};

/// Header and number of the hook, for which the readings are then asked.
pub fn head(bytes: &[u8]) -> Option<(Record, u32)> {
    let header = header(bytes)?;
    if header.kind != RecordKind::Tracepoint as u16 {
        return None;
    }
    Some((header, Fields(bytes).u32(offset_of!(TracepointRecord, hook))?))
}

/// Ends a string that the kernel has cut: its event has no other place to say so.
const CUT: char = '…';

/// The values, in the order of the readings. A string that could not be read is empty.
pub fn values(bytes: &[u8], readings: &[Reading]) -> Option<Vec<ArgValue>> {
    let fields = Fields(bytes);
    let (mut at, step) = STRINGS;
    let mut values = Vec::with_capacity(readings.len());
    for (number, reading) in readings.iter().enumerate() {
        let value = fields.u64(offset_of!(TracepointRecord, values) + 8 * number)?;
        values.push(match reading.shown {
            Shown::Text => {
                let length = usize::try_from(value).ok().filter(|length| *length <= step).unwrap_or_default();
                let text = fields.bytes(at, length)?;
                at += step;
                ArgValue::String(string(text, length == step))
            }
            Shown::Syscall => {
                ArgValue::Syscall { id: value as u32, abi: if value & SYSCALL_COMPAT == 0 { "x64" } else { "i386" } }
            }
            shown => number_of(widened(value, reading.source), shown),
        });
    }
    Some(values)
}

fn string(text: &[u8], cut: bool) -> String {
    let mut string = String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned();
    if cut {
        // Of a character in the middle of which it was cut nothing can be shown.
        string.truncate(string.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        string.push(CUT);
    }
    string
}

/// As 64 bits, with the sign that it had.
fn widened(value: u64, (bytes, signed): (u16, bool)) -> u64 {
    let unused = 64 - 8 * u32::from(bytes.clamp(1, 8));
    if signed {
        (value << unused).cast_signed().wrapping_shr(unused).cast_unsigned()
    } else {
        value << unused >> unused
    }
}

fn number_of(value: u64, shown: Shown) -> ArgValue {
    match shown {
        Shown::Int(1) => ArgValue::Int((value as i8).into()),
        Shown::Int(2) => ArgValue::Int((value as i16).into()),
        Shown::Int(_) => ArgValue::Int(value as i32),
        Shown::Uint(1) => ArgValue::Uint((value as u8).into()),
        Shown::Uint(2) => ArgValue::Uint((value as u16).into()),
        Shown::Uint(_) => ArgValue::Uint(value as u32),
        Shown::Long => ArgValue::Long(value.cast_signed()),
        Shown::Size | Shown::Text | Shown::Syscall => ArgValue::Size(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::{limits::RECORD_LAYOUT, tracepoint::ArgSpec};

    use super::*;

    fn reading(shown: Shown, bytes: u16, signed: bool) -> Reading {
        Reading { spec: ArgSpec::default(), shown, source: (bytes, signed) }
    }

    fn record(numbers: &[u64], texts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; STRINGS.0 + texts.len() * STRINGS.1];
        bytes[..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
        bytes[2..4].copy_from_slice(&16_u16.to_ne_bytes());
        for (index, number) in numbers.iter().enumerate() {
            let at = offset_of!(TracepointRecord, values) + 8 * index;
            bytes[at..at + 8].copy_from_slice(&number.to_ne_bytes());
        }
        for (index, text) in texts.iter().enumerate() {
            let at = STRINGS.0 + index * STRINGS.1;
            bytes[at..at + text.len()].copy_from_slice(text);
        }
        bytes
    }

    #[test]
    fn numbers_keep_their_sign_and_strings_their_order() {
        let bytes = record(&[0xff, 3, 0xffff_ffff, 4, SYSCALL_COMPAT | 5], &[b"ab\0", b"xyz\0"]);
        let readings = [
            reading(Shown::Int(4), 1, true),
            reading(Shown::Text, 0, false),
            reading(Shown::Long, 4, false),
            reading(Shown::Text, 0, false),
            reading(Shown::Syscall, 8, false),
        ];
        let expected = [
            ArgValue::Int(-1),
            ArgValue::String("ab".into()),
            ArgValue::Long(0xffff_ffff),
            ArgValue::String("xyz".into()),
            ArgValue::Syscall { id: 5, abi: "i386" },
        ];
        assert_eq!(values(&bytes, &readings).unwrap(), expected);
        assert_eq!(head(&bytes).unwrap().1, 0);
    }

    #[test]
    fn a_string_that_could_not_be_read_is_empty() {
        let bytes = record(&[(-14_i64).cast_unsigned()], &[b"left over\0"]);
        assert_eq!(values(&bytes, &[reading(Shown::Text, 0, false)]).unwrap(), [ArgValue::String(String::new())]);
    }

    #[test]
    fn a_string_that_the_kernel_has_cut_says_so_at_its_end() {
        let text = |bytes: &[u8]| {
            let record = record(&[bytes.len() as u64], &[bytes]);
            values(&record, &[reading(Shown::Text, 0, false)]).unwrap()
        };
        let long = [vec![b'a'; STRINGS.1 - 3], "é".as_bytes()[..1].to_vec(), vec![b'\0']].concat();
        assert_eq!(text(&long[1..]), [ArgValue::String("a".repeat(STRINGS.1 - 4) + "\u{fffd}")]);
        let whole = [vec![b'a'; STRINGS.1 - 1], vec![b'\0']].concat();
        assert_eq!(text(&whole), [ArgValue::String("a".repeat(STRINGS.1 - 1) + "…")]);
        let half = [vec![b'a'; STRINGS.1 - 2], "é".as_bytes()[..1].to_vec(), vec![b'\0']].concat();
        assert_eq!(text(&half), [ArgValue::String("a".repeat(STRINGS.1 - 2) + "…")]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1400), shown in 0_usize..6) {
            let shown = [Shown::Int(1), Shown::Uint(2), Shown::Long, Shown::Size, Shown::Text, Shown::Syscall][shown];
            let _ = head(&bytes);
            let _ = values(&bytes, &[reading(shown, 0, true), reading(Shown::Text, 9, false)]);
        }
    }
}
