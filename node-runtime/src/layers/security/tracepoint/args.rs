//! What a policy asks of a tracepoint's arguments, to how the kernel reads them and how the values are shown. Pure.

use trilobite_crds::node::{ArgType, TracepointArg, TracepointHook};
use trilobite_node_ebpf::tracepoint::{ArgKind, ArgSpec};

use super::format::Field;
use crate::{kernel::btf::RawArg, report::Problem};

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

fn from_field(field: &Field, wanted: ArgType) -> Result<Reading, String> {
    let (offset, size) = (field.offset, field.size);
    let text = |kind: ArgKind| Reading { spec: spec(offset, 0, kind), shown: Shown::Text, source: (0, false) };
    let characters = field.kind.contains("char");
    let found = if field.kind.starts_with("__data_loc") && characters {
        Some(text(ArgKind::DataLoc))
    } else if characters && field.kind.ends_with('*') {
        Some(text(ArgKind::Pointer))
    } else if characters && field.kind.ends_with(']') {
        Some(text(ArgKind::Inline))
    } else {
        None
    };
    match (wanted, found) {
        (ArgType::Auto | ArgType::String, Some(text)) => Ok(text),
        (ArgType::String, None) => Err(format!("{} is {}, which is no string", field.name, field.kind)),
        (ArgType::Auto, None) if matches!(size, 1 | 2 | 4 | 8) => Ok(automatic(offset, size, field.signed)),
        (_, Some(Reading { spec: ArgSpec { kind, .. }, .. })) if kind != ArgKind::Pointer as u32 => {
            Err(format!("{} is {}; its type is string", field.name, field.kind))
        }
        (wanted, _) if matches!(size, 1 | 2 | 4 | 8) => number(wanted, offset, size, field.signed),
        _ => Err(format!("{} is {} of {size} bytes, which cannot be shown yet", field.name, field.kind)),
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

    fn fields() -> Vec<Field> {
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
        let [reading] = classic(&hook(4, ArgType::Syscall64), &fields()).unwrap()[..] else { panic!() };
        assert_eq!(reading.spec, ArgSpec { offset: 8, bytes: 8, kind: ArgKind::Syscall as u32 });
        assert_eq!(classic(&hook(4, ArgType::Auto), &fields()).unwrap()[0].shown, Shown::Long);
    }

    #[test]
    fn what_a_record_does_not_have_is_refused_by_its_path() {
        for (index, kind) in [(9, ArgType::Auto), (3, ArgType::Auto), (4, ArgType::String), (5, ArgType::Uint64)] {
            let problem = classic(&hook(index, kind), &fields()).unwrap_err();
            assert_eq!(problem.field(), "spec.tracepoints[0].args[0]", "{index}");
        }
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
