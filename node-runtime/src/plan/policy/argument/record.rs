//! Arguments of a classic tracepoint: fields of its trace record.

use trilobite_crds::policy::{Argument, ArgumentType};

use super::{
    location::{Content, ReadArgument, TEXT_BYTES},
    wanted::{self, WantedContent, number_type},
};
use crate::plan::policy::{
    format::TracepointField,
    kernel_view::Kernel,
    value::{ValueKind, ValuePlan, ValueSource},
};

/// Subsystem of the tracepoints of single system calls. Their programs get a record with the number of the call and its
/// arguments only, without the fields that follow in the format file.
const SYSCALLS: &str = "syscalls";
/// The longest such record: the number and six arguments.
const SYSCALL_END: u16 = 64;

/// Plans how a field is read.
pub(super) fn read(
    argument: &Argument,
    requested: ArgumentType,
    subsystem: &str,
    fields: &[TracepointField],
    kernel: &dyn Kernel,
) -> Result<ReadArgument, String> {
    if requested == ArgumentType::Nop {
        return Ok(ReadArgument { value: None, size: None, r#type: requested });
    }
    let field = usize::try_from(argument.index).ok().and_then(|index| fields.get(index));
    let field =
        field.ok_or_else(|| format!("its record has {} fields, counted from 0 with the common ones", fields.len()))?;
    if field.is_common() {
        let name = &field.name;
        return Err(format!(
            "{name} is a common field, which programs cannot read; the first that they can has index 4"
        ));
    }
    if subsystem == SYSCALLS {
        check_syscall_field(field, fields)?;
    }
    let mut value = ValuePlan {
        source: ValueSource::Record { offset: field.offset, bytes: field.size },
        steps: Vec::new(),
        kind: ValueKind::String,
        load: 0,
        bound: TEXT_BYTES,
        size_from: None,
        at_return: false,
        is_filtered: false,
        is_emitted: true,
    };
    let text = text_kind(field);
    let size = field.size;
    let r#type = match (requested, text) {
        (ArgumentType::Auto | ArgumentType::String | ArgumentType::DataLoc, Some(kind)) => {
            value.kind = kind;
            if kind == ValueKind::Inline {
                value.bound = size.into();
            }
            ArgumentType::String
        }
        (ArgumentType::String | ArgumentType::DataLoc, None) => {
            return Err(format!("{} is {}, which is not a string", field.name, field.kind));
        }
        (_, None) if field.kind.ends_with(']') => {
            return Err(format!("{} is {}, an array, which is not supported", field.name, field.kind));
        }
        (_, Some(kind)) if kind != ValueKind::String => {
            return Err(format!("{} is {}; its type is string", field.name, field.kind));
        }
        (ArgumentType::Auto, _) => {
            (value.kind, value.bound) =
                (ValueKind::Number { bytes: u8::try_from(size).unwrap_or_default(), signed: field.signed }, 0);
            number_type(size, field.signed).ok_or_else(|| unsupported(field))?
        }
        (requested, _) => {
            read_as(&mut value, requested, field, kernel)?;
            requested
        }
    };
    Ok(ReadArgument { value: Some(value), size: None, r#type })
}

/// Reads a number, or what a pointer in the record points to.
fn read_as(
    value: &mut ValuePlan,
    requested: ArgumentType,
    field: &TracepointField,
    kernel: &dyn Kernel,
) -> Result<(), String> {
    if !matches!(field.size, 1 | 2 | 4 | 8) {
        return Err(unsupported(field));
    }
    let size = u8::try_from(field.size).unwrap_or(8);
    value.bound = 0;
    match wanted::simple(requested) {
        Some(WantedContent::Number { bytes, signed, kind }) => {
            let narrower = size < bytes;
            let number = if narrower { (size, field.signed) } else { (bytes, signed) };
            value.kind = kind.unwrap_or(ValueKind::Number { bytes: number.0, signed: number.1 });
        }
        Some(WantedContent::Struct { canonical, kind, member, accepts }) if field.kind.contains('*') && size == 8 => {
            wanted::structure(&mut value.steps, &Content::Register(None), accepts)?;
            if let Some(member) = member {
                wanted::member(&mut value.steps, canonical, member, kernel)?;
            }
            value.kind = kind;
        }
        _ => return Err(format!("{} is {}, which is no {}", field.name, field.kind, wanted::noun(requested))),
    }
    if matches!(
        value.kind,
        ValueKind::File | ValueKind::Path | ValueKind::Dentry | ValueKind::String | ValueKind::Fd | ValueKind::IovIter
    ) {
        value.bound = TEXT_BYTES;
    }
    Ok(())
}

fn unsupported(field: &TracepointField) -> String {
    format!("{} is {} of {} bytes, which is not supported", field.name, field.kind, field.size)
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

/// How a field of text is read; none for other fields.
fn text_kind(field: &TracepointField) -> Option<ValueKind> {
    let kind = field.kind.as_str();
    let mut words = kind.split(|character: char| !character.is_alphanumeric() && character != '_');
    let characters = words.clone().any(|word| word == "char") && !words.any(|word| word == "unsigned");
    if !characters {
        return None;
    }
    match kind.matches('*').count() {
        0 if kind.starts_with("__data_loc") => Some(ValueKind::DataLoc),
        0 if kind.starts_with("__rel_loc") => Some(ValueKind::RelLoc),
        0 if kind.ends_with(']') => Some(ValueKind::Inline),
        1 if kind.ends_with('*') => Some(ValueKind::String),
        // A pointer to pointers is not text.
        _ => None,
    }
}
