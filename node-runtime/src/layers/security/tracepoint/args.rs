//! What a policy asks of a tracepoint's arguments, to how the kernel reads them and how the values are shown. Pure.

use trilobite_crds::node::{ArgType, TracepointArg, TracepointHook};
use trilobite_node_ebpf::tracepoint::{ArgKind, ArgSpec};

use super::format::Field;
use crate::{kernel::btf::RawArg, report::Problem};

/// Subsystem of the tracepoints of single system calls. The kernel makes a record of its own for their programs: the number
/// of the call and its arguments, and nothing of what stands behind them in the format file.
const SYSCALLS: &str = "syscalls";
/// Where that record ends at the latest: the number, and six arguments.
const SYSCALL_END: u16 = 64;

/// As what a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// int_arg, of so many bytes with a sign.
    Int(u16),
    /// uint_arg, of so many bytes.
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
pub struct Reading {
    /// For the kernel.
    pub spec: ArgSpec,
    /// For people.
    pub shown: Shown,
    /// Bytes and sign that the value has, where they are fewer than what it is shown as.
    pub source: (u16, bool),
}

/// Readings of a classic tracepoint.
pub fn classic(hook: &TracepointHook, fields: &[Field]) -> Result<Vec<Reading>, Problem> {
    each(hook, |arg| {
        let field = fields
            .get(arg.index as usize)
            .ok_or_else(|| format!("its record has {} fields, counted from 0 with the common ones", fields.len()))?;
        if field.is_common() {
            return Err(format!(
                "{} is a field that programs do not see; the first that they do has index 4",
                field.name
            ));
        }
        if hook.subsystem == SYSCALLS {
            of_syscall(field, fields)?;
        }
        from_field(field, arg.r#type)
    })
}

/// Readings of a raw tracepoint.
pub fn raw(hook: &TracepointHook, args: &[RawArg]) -> Result<Vec<Reading>, Problem> {
    each(hook, |arg| {
        let found = args.get(arg.index as usize).ok_or_else(|| format!("it has {} arguments", args.len()))?;
        let offset = u16::try_from(arg.index * 8).map_err(|_| "no tracepoint has so many arguments".to_owned())?;
        from_raw(*found, offset, arg.r#type)
    })
}

fn each(
    hook: &TracepointHook,
    reading: impl Fn(&TracepointArg) -> Result<Reading, String>,
) -> Result<Vec<Reading>, Problem> {
    let readings = hook.args.iter().enumerate().map(|(number, arg)| {
        reading(arg).map_err(|detail| Problem::NoSuchArgument {
            name: format!("{}/{}", hook.subsystem, hook.event),
            detail,
            field: format!("{}.args[{number}]", hook.field_path),
        })
    });
    readings.collect()
}

/// On newer kernels the trace record of a system call carries copies of its strings as well: `__filename_val` is one of `filename`.
fn of_syscall(field: &Field, fields: &[Field]) -> Result<(), String> {
    let copied = field.kind.starts_with("__data_loc") || field.kind.starts_with("__rel_loc");
    if !copied && field.offset.saturating_add(field.size) <= SYSCALL_END {
        return Ok(());
    }
    let of = field.name.strip_prefix("__").and_then(|name| name.strip_suffix("_val"));
    Err(match fields.iter().enumerate().find(|(_, other)| Some(other.name.as_str()) == of) {
        Some((index, other)) => {
            format!("{} is not shown to programs; ask for {}, index {index}", field.name, other.name)
        }
        None => format!("{} is not shown to programs", field.name),
    })
}

fn from_field(field: &Field, wanted: ArgType) -> Result<Reading, String> {
    let (offset, size) = (field.offset, field.size);
    let found = text_kind(field).map(|kind| {
        // A field that is full has no end of its own.
        let bytes = if kind == ArgKind::Inline { size.saturating_add(1) } else { 0 };
        Reading { spec: spec(offset, bytes, kind), shown: Shown::Text, source: (0, false) }
    });
    match (wanted, found) {
        (ArgType::Auto | ArgType::String, Some(text)) => Ok(text),
        (ArgType::String, None) => Err(format!("{} is {}, which is no string", field.name, field.kind)),
        (_, None) if field.kind.ends_with(']') => {
            Err(format!("{} is {}, an array, which cannot be shown yet", field.name, field.kind))
        }
        (ArgType::Auto, None) if matches!(size, 1 | 2 | 4 | 8) => Ok(automatic(offset, size, field.signed)),
        (_, Some(Reading { spec: ArgSpec { kind, .. }, .. })) if kind != ArgKind::Pointer as u32 => {
            Err(format!("{} is {}; its type is string", field.name, field.kind))
        }
        (wanted, _) if matches!(size, 1 | 2 | 4 | 8) => number(wanted, offset, size, field.signed),
        _ => Err(format!("{} is {} of {size} bytes, which cannot be shown yet", field.name, field.kind)),
    }
}

/// How a field is read that is text; none where it is not.
fn text_kind(field: &Field) -> Option<ArgKind> {
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
        // A pointer to pointers is no text.
        _ => None,
    }
}

fn from_raw(found: RawArg, offset: u16, wanted: ArgType) -> Result<Reading, String> {
    let text = Reading { spec: spec(offset, 0, ArgKind::Pointer), shown: Shown::Text, source: (0, false) };
    match (wanted, found) {
        (_, RawArg::Other) => Err("it is no number and no pointer, which cannot be read".into()),
        (ArgType::Auto | ArgType::String, RawArg::Text) | (ArgType::String, RawArg::Pointer) => Ok(text),
        (ArgType::Auto, RawArg::Number { bytes, signed }) => Ok(automatic(offset, bytes, signed)),
        (ArgType::Auto, RawArg::Pointer) => {
            Err("it is a pointer to a struct: say string or uint64, or choose another argument".into())
        }
        (ArgType::String, RawArg::Number { .. }) => Err("it is a number, and no string".into()),
        (wanted, RawArg::Number { bytes, signed }) => number(wanted, offset, bytes, signed),
        (wanted, RawArg::Text | RawArg::Pointer) => number(wanted, offset, 8, false),
    }
}

fn automatic(offset: u16, bytes: u16, signed: bool) -> Reading {
    let shown = match (bytes, signed) {
        (8, true) => Shown::Long,
        (8, false) => Shown::Size,
        (bytes, true) => Shown::Int(bytes),
        (bytes, false) => Shown::Uint(bytes),
    };
    Reading { spec: spec(offset, bytes, ArgKind::Number), shown, source: (bytes, signed) }
}

fn number(wanted: ArgType, offset: u16, bytes: u16, signed: bool) -> Result<Reading, String> {
    let shown = match wanted {
        ArgType::Int | ArgType::Sint32 | ArgType::Int32 => Shown::Int(4),
        ArgType::Sint16 | ArgType::Int16 => Shown::Int(2),
        ArgType::Sint8 | ArgType::Int8 => Shown::Int(1),
        ArgType::Uint32 => Shown::Uint(4),
        ArgType::Uint16 => Shown::Uint(2),
        ArgType::Uint8 => Shown::Uint(1),
        ArgType::Long | ArgType::Sint64 | ArgType::Int64 => Shown::Long,
        ArgType::Ulong | ArgType::Uint64 | ArgType::SizeT => Shown::Size,
        ArgType::Syscall64 => {
            let spec = spec(offset, bytes, ArgKind::Syscall);
            return Ok(Reading { spec, shown: Shown::Syscall, source: (8, false) });
        }
        ArgType::Auto | ArgType::String => return Err("it has no such type".into()),
    };
    Ok(Reading { spec: spec(offset, bytes, ArgKind::Number), shown, source: (bytes, signed) })
}

fn spec(offset: u16, bytes: u16, kind: ArgKind) -> ArgSpec {
    ArgSpec { offset, bytes, kind: kind as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::security::tracepoint::format::fields;

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

    fn sys_enter() -> Vec<Field> {
        let field = |name: &str, kind: &str, offset, size| Field {
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
    fn the_fifth_field_of_sys_enter_is_the_system_call() {
        let [reading] = classic(&hook(4, ArgType::Syscall64), &sys_enter()).unwrap()[..] else { panic!() };
        assert_eq!(reading.spec, ArgSpec { offset: 8, bytes: 8, kind: ArgKind::Syscall as u32 });
        assert_eq!(classic(&hook(4, ArgType::Auto), &sys_enter()).unwrap()[0].shown, Shown::Long);
    }

    #[test]
    fn what_a_record_does_not_have_is_refused_by_its_path() {
        for (index, kind) in [(9, ArgType::Auto), (3, ArgType::Auto), (4, ArgType::String), (5, ArgType::Uint64)] {
            let problem = classic(&hook(index, kind), &sys_enter()).unwrap_err();
            assert_eq!(problem.field(), "spec.tracepoints[0].args[0]", "{index}");
        }
    }

    /// What a type of argument becomes, by the number of its field.
    fn read(format: &str, index: u32, wanted: ArgType) -> Result<(u16, u16, u32), ()> {
        let readings = classic(&hook(index, wanted), &fields(format)).map_err(drop)?;
        let spec = readings[0].spec;
        Ok((spec.offset, spec.bytes, spec.kind))
    }

    #[test]
    fn a_pointer_to_pointers_is_no_text() {
        let execve = include_str!("formats/sys_enter_execve.txt");
        assert_eq!(read(execve, 5, ArgType::Auto), Ok((16, 0, ArgKind::Pointer as u32)));
        assert_eq!(read(execve, 6, ArgType::String), Err(()));
        assert_eq!(read(execve, 6, ArgType::Auto), Ok((24, 8, ArgKind::Number as u32)));
    }

    #[test]
    fn a_copy_of_a_system_calls_string_is_refused_and_the_pointer_named() {
        let openat = fields(include_str!("formats/sys_enter_openat.txt"));
        let of_call = |index, wanted| TracepointHook { subsystem: "syscalls".into(), ..hook(index, wanted) };
        for wanted in [ArgType::Auto, ArgType::String, ArgType::Uint32] {
            let problem = classic(&of_call(9, wanted), &openat).unwrap_err();
            let says = problem.message();
            assert!(says.contains("__filename_val is not shown to programs; ask for filename, index 6"), "{says}");
            assert_eq!(problem.field(), "spec.tracepoints[0].args[0]");
        }
        let [reading] = classic(&of_call(6, ArgType::Auto), &openat).unwrap()[..] else { panic!() };
        assert_eq!((reading.spec.offset, reading.spec.kind), (24, ArgKind::Pointer as u32));
    }

    #[test]
    fn what_lies_behind_the_six_arguments_of_a_system_call_is_refused() {
        let field = |name: &str, offset| Field {
            kind: "unsigned long".into(),
            name: name.into(),
            offset,
            size: 8,
            signed: false,
        };
        let of_call = |index| TracepointHook { subsystem: "syscalls".into(), ..hook(index, ArgType::Auto) };
        let call = [field("sixth", 56), field("behind", 64)];
        assert!(classic(&of_call(0), &call).is_ok());
        assert!(classic(&of_call(1), &call).is_err());
        assert!(classic(&hook(1, ArgType::Auto), &call).is_ok());
    }

    #[test]
    fn an_address_of_four_bytes_is_no_number() {
        let state = include_str!("formats/inet_sock_set_state.txt");
        assert_eq!(read(state, 7, ArgType::Auto), Ok((24, 2, ArgKind::Number as u32)));
        for wanted in [ArgType::Auto, ArgType::Uint32, ArgType::String] {
            assert_eq!(read(state, 11, wanted), Err(()), "{wanted:?}");
        }
    }

    #[test]
    fn text_behind_a_relative_offset_is_text_and_no_number() {
        let relative = include_str!("formats/relative.txt");
        assert_eq!(read(relative, 4, ArgType::Auto), Ok((8, 0, ArgKind::RelLoc as u32)));
        assert_eq!(read(relative, 4, ArgType::Uint32), Err(()));
        assert_eq!(read(relative, 5, ArgType::Uint32), Err(()));
    }

    #[test]
    fn text_inside_a_record_ends_with_its_field() {
        let relative = include_str!("formats/relative.txt");
        assert_eq!(read(relative, 6, ArgType::Auto), Ok((16, 17, ArgKind::Inline as u32)));
    }

    #[test]
    fn a_raw_argument_is_read_by_its_place_in_the_prototype() {
        let args = [RawArg::Pointer, RawArg::Number { bytes: 8, signed: true }];
        assert_eq!(raw(&hook(1, ArgType::Auto), &args).unwrap()[0].spec.offset, 8);
        assert!(raw(&hook(0, ArgType::Auto), &args).is_err());
        assert_eq!(raw(&hook(0, ArgType::Uint64), &args).unwrap()[0].shown, Shown::Size);
        assert!(raw(&hook(2, ArgType::Auto), &args).is_err());
    }
}
