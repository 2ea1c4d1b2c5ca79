//! Decodes the record of a policy's tracepoint: its header and hook, and the values of its arguments.

use std::io;

use trilobite_node_ebpf::{Record, RecordKind, SYSCALL_COMPAT, TRACEPOINT_STRING_MAX, TracepointRecord};
use trilobite_untrusted_text::decode;
use zerocopy::FromBytes;

use super::{
    args::{ArgReader, OutputType},
    event::ArgValue,
};

/// Bytes of a record for each of its strings.
const STRING: usize = TRACEPOINT_STRING_MAX as usize;

/// The header, and the number of the hook within its policy.
pub(super) fn decode_header(bytes: &[u8]) -> Option<(Record, u32)> {
    let header = Record::read(bytes).filter(|header| header.kind() == Some(RecordKind::Tracepoint))?;
    let (record, _) = TracepointRecord::read_from_prefix(bytes).ok()?;
    Some((header, record.hook))
}

/// Appended to a string that the kernel has cut; Tetragon's argument has no field for that.
const CUT: char = '…';

/// Tetragon's names of the ABIs of system calls: that of this machine, and that of its 32-bit tasks.
const ABIS: (&str, &str) = if cfg!(target_arch = "aarch64") { ("arm64", "arm32") } else { ("x64", "i386") };

/// The values in the order of the readers. None for a record that is shorter than its strings.
pub(super) fn decode_values(bytes: &[u8], readers: &[ArgReader]) -> Option<Vec<ArgValue>> {
    let (record, mut strings) = TracepointRecord::read_from_prefix(bytes).ok()?;
    let mut values = Vec::with_capacity(readers.len());
    for (reader, value) in readers.iter().zip(record.values) {
        values.push(match reader.output {
            OutputType::Text => {
                let (text, rest) = strings.split_at_checked(STRING)?;
                strings = rest;
                match string_length(value) {
                    Ok(length) => ArgValue::String(decode_string(&text[..length], length == STRING)),
                    Err(reason) => ArgValue::Unreadable(format!("the string could not be read: {reason}")),
                }
            }
            OutputType::Syscall => {
                let (native, compat) = ABIS;
                ArgValue::Syscall { id: value as u32, abi: if value & SYSCALL_COMPAT == 0 { native } else { compat } }
            }
            output => number_value(extend(value, reader.source), output),
        });
    }
    Some(values)
}

/// Bytes of a string with its NUL, or why there is none: the program stores the kernel's error number.
fn string_length(value: u64) -> Result<usize, String> {
    match usize::try_from(value.cast_signed()) {
        Ok(length) if (1..=STRING).contains(&length) => Ok(length),
        Ok(length) => Err(format!("{length} is no length of a string")),
        Err(_) => {
            let number = i32::try_from(value.cast_signed().unsigned_abs()).unwrap_or(i32::MAX);
            Err(io::Error::from_raw_os_error(number).to_string())
        }
    }
}

fn decode_string(text: &[u8], cut: bool) -> String {
    let mut string = decode(text.strip_suffix(&[0]).unwrap_or(text));
    if cut {
        // The last character may be incomplete.
        string.truncate(string.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        string.push(CUT);
    }
    string
}

/// Extends a value of fewer bytes to 64 bits, with its sign.
fn extend(value: u64, (bytes, signed): (u16, bool)) -> u64 {
    let unused = 64 - 8 * u32::from(bytes.clamp(1, 8));
    if signed {
        (value << unused).cast_signed().wrapping_shr(unused).cast_unsigned()
    } else {
        value << unused >> unused
    }
}

fn number_value(value: u64, output: OutputType) -> ArgValue {
    match output {
        OutputType::Int(1) => ArgValue::Int((value as i8).into()),
        OutputType::Int(2) => ArgValue::Int((value as i16).into()),
        OutputType::Int(_) => ArgValue::Int(value as i32),
        OutputType::Uint(1) => ArgValue::Uint((value as u8).into()),
        OutputType::Uint(2) => ArgValue::Uint((value as u16).into()),
        OutputType::Uint(_) => ArgValue::Uint(value as u32),
        OutputType::Long => ArgValue::Long(value.cast_signed()),
        OutputType::Size | OutputType::Text | OutputType::Syscall => ArgValue::Size(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::{ArgSpec, RECORD_LAYOUT};
    use zerocopy::IntoBytes;

    use super::*;

    fn reader(output: OutputType, bytes: u16, signed: bool) -> ArgReader {
        ArgReader { spec: ArgSpec::default(), output, source: (bytes, signed) }
    }

    fn record(numbers: &[u64], texts: &[&[u8]]) -> Vec<u8> {
        let kind = RecordKind::Tracepoint as u16;
        let header = Record { layout: RECORD_LAYOUT, kind, ..Record::default() };
        let mut record = TracepointRecord { header, ..TracepointRecord::default() };
        record.values[..numbers.len()].copy_from_slice(numbers);
        let mut bytes = record.as_bytes().to_vec();
        for text in texts {
            let end = bytes.len() + STRING;
            bytes.extend_from_slice(text);
            bytes.resize(end, 0);
        }
        bytes
    }

    #[test]
    fn numbers_keep_their_sign_and_strings_their_order() {
        let bytes = record(&[0xff, 3, 0xffff_ffff, 4, SYSCALL_COMPAT | 5], &[b"ab\0", b"xyz\0"]);
        let readers = [
            reader(OutputType::Int(4), 1, true),
            reader(OutputType::Text, 0, false),
            reader(OutputType::Long, 4, false),
            reader(OutputType::Text, 0, false),
            reader(OutputType::Syscall, 8, false),
        ];
        let expected = [
            ArgValue::Int(-1),
            ArgValue::String("ab".into()),
            ArgValue::Long(0xffff_ffff),
            ArgValue::String("xyz".into()),
            ArgValue::Syscall { id: 5, abi: "i386" },
        ];
        assert_eq!(decode_values(&bytes, &readers).unwrap(), expected);
        assert_eq!(decode_header(&bytes).unwrap().1, 0);
    }

    #[test]
    fn unreadable_string_is_not_an_empty_one() {
        let first = |value: u64, text: &[u8]| {
            let text = record(&[value], &[text]);
            decode_values(&text, &[reader(OutputType::Text, 0, false)]).unwrap().remove(0)
        };
        let ArgValue::Unreadable(fault) = first((-14_i64).cast_unsigned(), b"left over\0") else { panic!() };
        assert_eq!(fault, "the string could not be read: Bad address (os error 14)");
        for length in [0, 1 + STRING as u64, i64::MAX as u64, i64::MIN.cast_unsigned()] {
            assert!(matches!(first(length, b"left over\0"), ArgValue::Unreadable(_)), "{length}");
        }
        assert_eq!(first(1, b"\0"), ArgValue::String(String::new()));
    }

    #[test]
    fn record_without_its_strings_is_refused() {
        let bytes = record(&[3], &[]);
        assert_eq!(decode_values(&bytes, &[reader(OutputType::Text, 0, false)]), None);
    }

    #[test]
    fn string_cut_by_the_kernel_ends_with_an_ellipsis() {
        let text = |bytes: &[u8]| {
            let record = record(&[bytes.len() as u64], &[bytes]);
            decode_values(&record, &[reader(OutputType::Text, 0, false)]).unwrap()
        };
        let long = [vec![b'a'; STRING - 3], "é".as_bytes()[..1].to_vec(), vec![b'\0']].concat();
        assert_eq!(text(&long[1..]), [ArgValue::String("a".repeat(STRING - 4) + "\u{fffd}")]);
        let whole = [vec![b'a'; STRING - 1], vec![b'\0']].concat();
        assert_eq!(text(&whole), [ArgValue::String("a".repeat(STRING - 1) + "…")]);
        let half = [vec![b'a'; STRING - 2], "é".as_bytes()[..1].to_vec(), vec![b'\0']].concat();
        assert_eq!(text(&half), [ArgValue::String("a".repeat(STRING - 2) + "…")]);
    }

    proptest! {
        #[test]
        fn decoder_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1400), output in 0_usize..6) {
            let output = [OutputType::Int(1), OutputType::Uint(2), OutputType::Long, OutputType::Size, OutputType::Text, OutputType::Syscall][output];
            let _ = decode_header(&bytes);
            let _ = decode_values(&bytes, &[reader(output, 0, true), reader(OutputType::Text, 9, false)]);
        }
    }
}
