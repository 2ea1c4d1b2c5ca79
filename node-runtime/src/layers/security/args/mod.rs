//! Arguments of a policy's tracepoint: how the kernel reads each value and which type events show. Pure.

pub mod format;

use trilobite_crds::node::{ArgType, TracepointArg, TracepointHook};
use trilobite_node_ebpf::{ArgKind, ArgSpec};

use self::format::TracepointField;
use crate::{kernel::btf::RawArg, problem::Problem};

/// Subsystem of the tracepoints of single system calls. Their programs get a record with the number of the call and its
/// arguments only, without the fields that follow in the format file.
const SYSCALLS: &str = "syscalls";
/// The longest such record: the number and six arguments.
const SYSCALL_END: u16 = 64;

/// The member of Tetragon's KprobeArgument that shows a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputType {
    /// int_arg, of this many bytes.
    Int(u16),
    /// uint_arg, of this many bytes.
    Uint(u16),
    /// long_arg.
    Long,
    /// size_arg.
    Size,
    /// string_arg.
    Text,
    /// syscall_id.
    Syscall,
}

/// How one argument is read and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgReader {
    /// The part that the program gets.
    pub spec: ArgSpec,
    pub output: OutputType,
    /// Size in bytes and signedness of the value in the record, which may be smaller than the output.
    pub source: (u16, bool),
}

/// Readers for the arguments of a classic tracepoint.
pub fn classic_readers(hook: &TracepointHook, fields: &[TracepointField]) -> Result<Vec<ArgReader>, Problem> {
    map_args(hook, |arg| {
        let field = fields
            .get(arg.index as usize)
            .ok_or_else(|| format!("its record has {} fields, counted from 0 with the common ones", fields.len()))?;
        if field.is_common() {
            return Err(format!(
                "{} is a common field, which programs cannot read; the first that they can has index 4",
                field.name
            ));
        }
        if hook.subsystem == SYSCALLS {
            check_syscall_field(field, fields)?;
        }
        field_reader(field, arg.r#type)
    })
}

/// Readers for the arguments of a raw tracepoint.
pub fn raw_readers(hook: &TracepointHook, args: &[RawArg]) -> Result<Vec<ArgReader>, Problem> {
    map_args(hook, |arg| {
        let found = args.get(arg.index as usize).ok_or_else(|| format!("it has {} arguments", args.len()))?;
        let offset = u16::try_from(arg.index * 8).map_err(|_| "no tracepoint has so many arguments".to_owned())?;
        raw_reader(*found, offset, arg.r#type)
    })
}

fn map_args(
    hook: &TracepointHook,
    reader: impl Fn(&TracepointArg) -> Result<ArgReader, String>,
) -> Result<Vec<ArgReader>, Problem> {
    let readers = hook.args.iter().enumerate().map(|(number, arg)| {
        reader(arg).map_err(|detail| Problem::NoSuchArgument {
            name: format!("{}/{}", hook.subsystem, hook.event),
            detail,
            field: format!("{}.args[{number}]", hook.field_path),
        })
    });
    readers.collect()
}

/// Refuses fields that are in the format file of a system call, but not in the record of the program. On newer kernels these
/// are copies of strings: `__filename_val` is one of `filename`.
fn check_syscall_field(field: &TracepointField, fields: &[TracepointField]) -> Result<(), String> {
    let copied = field.kind.starts_with("__data_loc") || field.kind.starts_with("__rel_loc");
    if !copied && field.offset.saturating_add(field.size) <= SYSCALL_END {
        return Ok(());
    }
    let original = field.name.strip_prefix("__").and_then(|name| name.strip_suffix("_val"));
    Err(match fields.iter().enumerate().find(|(_, other)| Some(other.name.as_str()) == original) {
        Some((index, other)) => {
            format!("{} is not visible to programs; use {}, index {index}", field.name, other.name)
        }
        None => format!("{} is not visible to programs", field.name),
    })
}

fn field_reader(field: &TracepointField, requested: ArgType) -> Result<ArgReader, String> {
    let (offset, size) = (field.offset, field.size);
    let found = text_kind(field).map(|kind| {
        // A full field has no terminating NUL.
        let bytes = if kind == ArgKind::Inline { size.saturating_add(1) } else { 0 };
        ArgReader { spec: spec(offset, bytes, kind), output: OutputType::Text, source: (0, false) }
    });
    match (requested, found) {
        (ArgType::Auto | ArgType::String, Some(text)) => Ok(text),
        (ArgType::String, None) => Err(format!("{} is {}, which is not a string", field.name, field.kind)),
        (_, None) if field.kind.ends_with(']') => {
            Err(format!("{} is {}, an array, which is not supported", field.name, field.kind))
        }
        (ArgType::Auto, None) if matches!(size, 1 | 2 | 4 | 8) => Ok(auto_reader(offset, size, field.signed)),
        (_, Some(ArgReader { spec: ArgSpec { kind, .. }, .. })) if kind != ArgKind::Pointer as u32 => {
            Err(format!("{} is {}; its type is string", field.name, field.kind))
        }
        (requested, _) if matches!(size, 1 | 2 | 4 | 8) => number_reader(requested, offset, size, field.signed),
        _ => Err(format!("{} is {} of {size} bytes, which is not supported", field.name, field.kind)),
    }
}

/// How a field of text is read; none for other fields.
fn text_kind(field: &TracepointField) -> Option<ArgKind> {
    let kind = field.kind.as_str();
    let mut words = kind.split(|character: char| !character.is_alphanumeric() && character != '_');
    let characters = words.clone().any(|word| word == "char") && !words.any(|word| word == "unsigned");
    if !characters {
        return None;
    }
    match kind.matches('*').count() {
        0 if kind.starts_with("__data_loc") => Some(ArgKind::DataLoc),
        0 if kind.starts_with("__rel_loc") => Some(ArgKind::RelLoc),
        0 if kind.ends_with(']') => Some(ArgKind::Inline),
        1 if kind.ends_with('*') => Some(ArgKind::Pointer),
        // A pointer to pointers is not text.
        _ => None,
    }
}

fn raw_reader(found: RawArg, offset: u16, requested: ArgType) -> Result<ArgReader, String> {
    let text = ArgReader { spec: spec(offset, 0, ArgKind::Pointer), output: OutputType::Text, source: (0, false) };
    match (requested, found) {
        (_, RawArg::Other) => Err("it is neither a number nor a pointer, which is not supported".into()),
        (ArgType::Auto | ArgType::String, RawArg::Text) | (ArgType::String, RawArg::Pointer) => Ok(text),
        (ArgType::Auto, RawArg::Number { bytes, signed }) => Ok(auto_reader(offset, bytes, signed)),
        (ArgType::Auto, RawArg::Pointer) => {
            Err("it is a pointer to a struct: use type string or uint64, or another argument".into())
        }
        (ArgType::String, RawArg::Number { .. }) => Err("it is a number, not a string".into()),
        (requested, RawArg::Number { bytes, signed }) => number_reader(requested, offset, bytes, signed),
        (requested, RawArg::Text | RawArg::Pointer) => number_reader(requested, offset, 8, false),
    }
}

fn auto_reader(offset: u16, bytes: u16, signed: bool) -> ArgReader {
    let output = match (bytes, signed) {
        (8, true) => OutputType::Long,
        (8, false) => OutputType::Size,
        (bytes, true) => OutputType::Int(bytes),
        (bytes, false) => OutputType::Uint(bytes),
    };
    ArgReader { spec: spec(offset, bytes, ArgKind::Number), output, source: (bytes, signed) }
}

fn number_reader(requested: ArgType, offset: u16, bytes: u16, signed: bool) -> Result<ArgReader, String> {
    let output = match requested {
        ArgType::Int | ArgType::Sint32 | ArgType::Int32 => OutputType::Int(4),
        ArgType::Sint16 | ArgType::Int16 => OutputType::Int(2),
        ArgType::Sint8 | ArgType::Int8 => OutputType::Int(1),
        ArgType::Uint32 => OutputType::Uint(4),
        ArgType::Uint16 => OutputType::Uint(2),
        ArgType::Uint8 => OutputType::Uint(1),
        ArgType::Long | ArgType::Sint64 | ArgType::Int64 => OutputType::Long,
        ArgType::Ulong | ArgType::Uint64 | ArgType::SizeT => OutputType::Size,
        ArgType::Syscall64 => {
            let spec = spec(offset, bytes, ArgKind::Syscall);
            return Ok(ArgReader { spec, output: OutputType::Syscall, source: (8, false) });
        }
        ArgType::Auto | ArgType::String => return Err("it has no such type".into()),
    };
    Ok(ArgReader { spec: spec(offset, bytes, ArgKind::Number), output, source: (bytes, signed) })
}

fn spec(offset: u16, bytes: u16, kind: ArgKind) -> ArgSpec {
    ArgSpec { offset, bytes, kind: kind as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::security::args::format::parse_format;

    fn hook(index: u32, r#type: ArgType) -> TracepointHook {
        TracepointHook {
            field_path: "spec.tracepoints[0]".into(),
            subsystem: "raw_syscalls".into(),
            event: "sys_enter".into(),
            raw: false,
            message: None,
            tags: Vec::new(),
            args: vec![TracepointArg { index, r#type, label: None }],
        }
    }

    fn sys_enter() -> Vec<TracepointField> {
        let field = |name: &str, kind: &str, offset, size| TracepointField {
            kind: kind.into(),
            name: name.into(),
            offset,
            size,
            signed: kind == "long",
        };
        vec![
            field("common_type", "unsigned short", 0, 2),
            field("common_flags", "unsigned char", 2, 1),
            field("common_preempt_count", "unsigned char", 3, 1),
            field("common_pid", "int", 4, 4),
            field("id", "long", 8, 8),
            field("args", "unsigned long[6]", 16, 48),
        ]
    }

    #[test]
    fn field_4_of_sys_enter_is_the_system_call() {
        let [reader] = classic_readers(&hook(4, ArgType::Syscall64), &sys_enter()).unwrap()[..] else { panic!() };
        assert_eq!(reader.spec, ArgSpec { offset: 8, bytes: 8, kind: ArgKind::Syscall as u32 });
        assert_eq!(classic_readers(&hook(4, ArgType::Auto), &sys_enter()).unwrap()[0].output, OutputType::Long);
    }

    #[test]
    fn missing_or_unreadable_field_is_refused_with_its_path() {
        for (index, kind) in [(9, ArgType::Auto), (3, ArgType::Auto), (4, ArgType::String), (5, ArgType::Uint64)] {
            let problem = classic_readers(&hook(index, kind), &sys_enter()).unwrap_err();
            assert_eq!(problem.field(), "spec.tracepoints[0].args[0]", "{index}");
        }
    }

    /// Offset, size and kind of the reader for a field, given its index.
    fn read(format: &str, index: u32, requested: ArgType) -> Result<(u16, u16, u32), ()> {
        let readers = classic_readers(&hook(index, requested), &parse_format(format)).map_err(drop)?;
        let spec = readers[0].spec;
        Ok((spec.offset, spec.bytes, spec.kind))
    }

    #[test]
    fn pointer_to_pointers_is_not_text() {
        let execve = include_str!("formats/sys_enter_execve.txt");
        assert_eq!(read(execve, 5, ArgType::Auto), Ok((16, 0, ArgKind::Pointer as u32)));
        assert_eq!(read(execve, 6, ArgType::String), Err(()));
        assert_eq!(read(execve, 6, ArgType::Auto), Ok((24, 8, ArgKind::Number as u32)));
    }

    #[test]
    fn copied_string_of_a_system_call_names_the_pointer_instead() {
        let openat = parse_format(include_str!("formats/sys_enter_openat.txt"));
        let syscall_hook = |index, requested| TracepointHook { subsystem: "syscalls".into(), ..hook(index, requested) };
        for requested in [ArgType::Auto, ArgType::String, ArgType::Uint32] {
            let problem = classic_readers(&syscall_hook(9, requested), &openat).unwrap_err();
            let message = problem.message();
            assert!(message.contains("__filename_val is not visible to programs; use filename, index 6"), "{message}");
            assert_eq!(problem.field(), "spec.tracepoints[0].args[0]");
        }
        let [reader] = classic_readers(&syscall_hook(6, ArgType::Auto), &openat).unwrap()[..] else { panic!() };
        assert_eq!((reader.spec.offset, reader.spec.kind), (24, ArgKind::Pointer as u32));
    }

    #[test]
    fn field_after_six_arguments_of_a_system_call_is_refused() {
        let field = |name: &str, offset| TracepointField {
            kind: "unsigned long".into(),
            name: name.into(),
            offset,
            size: 8,
            signed: false,
        };
        let syscall_hook = |index| TracepointHook { subsystem: "syscalls".into(), ..hook(index, ArgType::Auto) };
        let call = [field("sixth", 56), field("behind", 64)];
        assert!(classic_readers(&syscall_hook(0), &call).is_ok());
        assert!(classic_readers(&syscall_hook(1), &call).is_err());
        assert!(classic_readers(&hook(1, ArgType::Auto), &call).is_ok());
    }

    #[test]
    fn address_of_four_bytes_is_not_a_number() {
        let state = include_str!("formats/inet_sock_set_state.txt");
        assert_eq!(read(state, 7, ArgType::Auto), Ok((24, 2, ArgKind::Number as u32)));
        for requested in [ArgType::Auto, ArgType::Uint32, ArgType::String] {
            assert_eq!(read(state, 11, requested), Err(()), "{requested:?}");
        }
    }

    #[test]
    fn text_at_a_relative_offset_is_not_a_number() {
        let relative = include_str!("formats/relative.txt");
        assert_eq!(read(relative, 4, ArgType::Auto), Ok((8, 0, ArgKind::RelLoc as u32)));
        assert_eq!(read(relative, 4, ArgType::Uint32), Err(()));
        assert_eq!(read(relative, 5, ArgType::Uint32), Err(()));
    }

    #[test]
    fn inline_text_ends_with_its_field() {
        let relative = include_str!("formats/relative.txt");
        assert_eq!(read(relative, 6, ArgType::Auto), Ok((16, 17, ArgKind::Inline as u32)));
    }

    #[test]
    fn raw_argument_is_read_by_its_position_in_the_prototype() {
        let args = [RawArg::Pointer, RawArg::Number { bytes: 8, signed: true }];
        assert_eq!(raw_readers(&hook(1, ArgType::Auto), &args).unwrap()[0].spec.offset, 8);
        assert!(raw_readers(&hook(0, ArgType::Auto), &args).is_err());
        assert_eq!(raw_readers(&hook(0, ArgType::Uint64), &args).unwrap()[0].output, OutputType::Size);
        assert!(raw_readers(&hook(2, ArgType::Auto), &args).is_err());
    }
}
