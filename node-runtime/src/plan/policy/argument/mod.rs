//! An argument of a policy -> the value that is read, checked against the types of the kernel. An error says what is there, what
//! was asked for and, behind `; `, what to use instead.

mod location;
mod path;
mod record;
mod wanted;

use trilobite_crds::policy::{Argument, ArgumentSource, ArgumentType, Word};

pub(super) use self::location::{ArgumentPlace, MAX_ARGUMENTS, ReadArgument, Role};
use self::{
    location::{Content, Located, MAX_DATA_BYTES, TEXT_BYTES},
    path::{Path, walk},
};
use super::{
    kernel_view::Kernel,
    value::{MAX_STEPS, ValueKind, ValuePlan, ValueSource},
};
use crate::kernel::btf::{CType, StructRef};
use wanted::{WantedContent, suggested_type};

/// Plans how an argument is read.
pub(super) fn read(
    argument: &Argument,
    role: Role,
    place: &ArgumentPlace,
    kernel: &dyn Kernel,
) -> Result<ReadArgument, String> {
    let requested = known(&argument.r#type)?;
    if let ArgumentPlace::Tracepoint { subsystem, fields, .. } = place
        && argument.source.is_none()
    {
        return record::read(argument, requested, subsystem, fields, kernel);
    }
    let begin = begin(argument, role, place, kernel)?;
    let located =
        if argument.resolve.is_empty() || is_register(argument) { begin } else { resolve(argument, begin, kernel)? };
    let misfit = |found: &str| misfit(argument, requested, place, found, kernel);
    let (requested, wanted) = wanted::of_type(requested, &located.at).map_err(|found| misfit(&found))?;
    finish(argument, role, place, kernel, located, wanted)
        .map(|(value, size)| ReadArgument { value, size, r#type: requested })
        .map_err(|error| match error {
            Refusal::Misfit(found) => misfit(&found),
            Refusal::Other(detail) => detail,
        })
}

/// Why a value cannot be read as requested.
enum Refusal {
    /// Another type is there.
    Misfit(String),
    Other(String),
}

fn known(word: &Word<ArgumentType>) -> Result<ArgumentType, String> {
    word.known().ok_or_else(|| format!("{} is no type; see docs/which-policies-work.md", word.as_str()))
}

fn is_register(argument: &Argument) -> bool {
    source_of(argument) == Some(ArgumentSource::PtRegs)
}

fn source_of(argument: &Argument) -> Option<ArgumentSource> {
    argument.source.as_ref().and_then(Word::known)
}

/// The number with which the value begins.
fn begin(argument: &Argument, role: Role, place: &ArgumentPlace, kernel: &dyn Kernel) -> Result<Located, String> {
    let in_register = |source, r#type| Located { source, steps: Vec::new(), at: Content::Register(r#type) };
    let located = match source_of(argument) {
        Some(ArgumentSource::CurrentTask) => in_register(ValueSource::CurrentTask, Some(pointer_to("task_struct"))),
        Some(ArgumentSource::PtRegs) => {
            return path::register(&argument.resolve, kernel)
                .map(|offset| in_register(ValueSource::PtRegs(offset), None));
        }
        None if role == Role::Return => in_register(ValueSource::Return, returned(place)),
        None => {
            let index = usize::try_from(argument.index).map_err(|_| "an index is 0 or more".to_owned())?;
            let r#type = parameter(index, place)?;
            let index = u8::try_from(index).map_err(|_| "no function has so many arguments".to_owned())?;
            in_register(ValueSource::Argument(index), r#type)
        }
    };
    if argument.btf_type.is_empty() {
        return Ok(located);
    }
    Ok(Located { at: Content::Register(Some(pointer_to(&argument.btf_type))), ..located })
}

fn pointer_to(name: &str) -> CType {
    CType::Pointer(Box::new(CType::Struct(StructRef { name: name.into(), is_union: false, id: 0 })))
}

fn returned(place: &ArgumentPlace) -> Option<CType> {
    match place {
        ArgumentPlace::Function { function, .. } => function.as_ref().map(|function| function.returned.clone()),
        _ => None,
    }
}

/// Type of a parameter; an error where there is none of this index.
fn parameter(index: usize, place: &ArgumentPlace) -> Result<Option<CType>, String> {
    let in_registers = |name: &str| match index < MAX_ARGUMENTS {
        true => Ok(()),
        false => Err(format!("only the first {MAX_ARGUMENTS} arguments of {name} are in registers; use index 0 to 5")),
    };
    match place {
        ArgumentPlace::Syscall { name } => in_registers(name).map(|()| None),
        ArgumentPlace::Function { name, function: None } => in_registers(name).map(|()| None),
        ArgumentPlace::Function { name, function: Some(function) } => {
            let types: Vec<&CType> = function.parameters.iter().map(|parameter| &parameter.r#type).collect();
            let found = types.get(index).ok_or_else(|| count(name, types.len()))?;
            in_registers(name)?;
            if types[..index].iter().any(|before| !before.fits_register()) {
                return Err(format!("{name} has an argument before it that is passed by value; use an earlier one"));
            }
            Ok(Some((*found).clone()))
        }
        ArgumentPlace::RawTracepoint { event, types } => {
            types.get(index).cloned().map(Some).ok_or_else(|| count(event, types.len()))
        }
        ArgumentPlace::Tracepoint { .. } => Ok(None),
    }
}

fn count(name: &str, arguments: usize) -> String {
    match arguments {
        0 => format!("{name} has no arguments in this kernel"),
        1 => format!("{name} has 1 argument in this kernel; use index 0"),
        _ => format!("{name} has {arguments} arguments in this kernel; use index 0 to {}", arguments - 1),
    }
}

/// Follows `resolve` from a pointer to a struct.
fn resolve(argument: &Argument, begin: Located, kernel: &dyn Kernel) -> Result<Located, String> {
    let Content::Register(Some(r#type)) = &begin.at else {
        return Err("its type is not known in this kernel, which resolve needs; set btfType".into());
    };
    let module = Some(argument.btf_type_module.as_str()).filter(|module| !module.is_empty());
    let Path { mut steps, r#type, offset } = walk(r#type, &argument.resolve, module, kernel)?;
    let mut all = begin.steps;
    all.append(&mut steps);
    Ok(Located { source: begin.source, steps: all, at: Content::Memory { r#type, offset } })
}

/// The last steps, by what is wanted; also the value of a buffer's size.
fn finish(
    argument: &Argument,
    role: Role,
    place: &ArgumentPlace,
    kernel: &dyn Kernel,
    located: Located,
    wanted: WantedContent,
) -> Result<(Option<ValuePlan>, Option<ValuePlan>), Refusal> {
    let mut size = None;
    let Located { source, mut steps, at } = located;
    let at_return = source == ValueSource::Return || argument.return_copy && role != Role::Return;
    let (kind, load, bound) = match wanted {
        WantedContent::Nothing => return Ok((None, None)),
        WantedContent::Number { bytes, signed, kind } => {
            let (number, load) = wanted::number(&mut steps, &at, bytes, signed).map_err(Refusal::Misfit)?;
            (kind.unwrap_or(number), load, 0)
        }
        WantedContent::Text => {
            wanted::text(&mut steps, &at).map_err(Refusal::Misfit)?;
            (ValueKind::String, 0, TEXT_BYTES)
        }
        WantedContent::Buffer { kind } => {
            wanted::bytes(&mut steps, &at).map_err(Refusal::Misfit)?;
            size = size_of_buffer(argument, place)?;
            (kind, 0, if argument.max_data { MAX_DATA_BYTES } else { TEXT_BYTES })
        }
        WantedContent::FixedBuffer => {
            let bytes = wanted::array(&mut steps, &at).map_err(Refusal::Misfit)?;
            (ValueKind::Buffer, 0, bytes)
        }
        WantedContent::Struct { accepts, canonical, kind, member } => {
            let found = wanted::structure(&mut steps, &at, accepts).map_err(Refusal::Misfit)?;
            if let Some(member) = member {
                let name = found.as_deref().unwrap_or(canonical);
                wanted::member(&mut steps, name, member, kernel).map_err(Refusal::Other)?;
            }
            let bytes = match kind {
                ValueKind::String | ValueKind::File | ValueKind::Path | ValueKind::Dentry => TEXT_BYTES,
                ValueKind::IovIter if argument.max_data => MAX_DATA_BYTES,
                ValueKind::IovIter | ValueKind::SockaddrUnix => TEXT_BYTES,
                _ => 0,
            };
            (kind, 0, bytes)
        }
    };
    if steps.len() > MAX_STEPS {
        return Err(Refusal::Other(format!(
            "resolve takes {} steps, and at most {MAX_STEPS} are possible",
            steps.len()
        )));
    }
    let bound = if kind == ValueKind::Fd { TEXT_BYTES } else { bound };
    let is_emitted = true;
    let value =
        ValuePlan { source, steps, kind, load, bound, size_from: None, at_return, is_filtered: false, is_emitted };
    Ok((Some(value), size))
}

/// The value of the argument that `sizeArgIndex` names, counted from 1. With `returnCopy` alone, the returned value is the size.
fn size_of_buffer(argument: &Argument, place: &ArgumentPlace) -> Result<Option<ValuePlan>, Refusal> {
    let source = match usize::try_from(argument.size_arg_index) {
        Ok(0) if argument.return_copy => ValueSource::Return,
        Ok(0) => return Err(Refusal::Other("a buffer needs a size; set sizeArgIndex".into())),
        Ok(number) => {
            let index = number - 1;
            let r#type = parameter(index, place).map_err(|detail| Refusal::Other(format!("sizeArgIndex: {detail}")))?;
            if r#type.as_ref().is_some_and(CType::is_pointer) {
                return Err(Refusal::Other(format!("sizeArgIndex: argument {index} is a pointer, not a size")));
            }
            ValueSource::Argument(u8::try_from(index).unwrap_or(u8::MAX))
        }
        Err(_) => return Err(Refusal::Other("sizeArgIndex: counted from 1".into())),
    };
    Ok(Some(ValuePlan {
        source,
        steps: Vec::new(),
        kind: ValueKind::Number { bytes: 8, signed: source == ValueSource::Return },
        load: 0,
        bound: 0,
        size_from: None,
        at_return: source == ValueSource::Return,
        is_filtered: false,
        is_emitted: false,
    }))
}

/// `NAME has struct dentry * there in this kernel, not a string; its string is index 1`.
fn misfit(
    argument: &Argument,
    requested: ArgumentType,
    place: &ArgumentPlace,
    found: &str,
    kernel: &dyn Kernel,
) -> String {
    let name = match place {
        ArgumentPlace::Function { name, .. } | ArgumentPlace::Syscall { name } => name,
        ArgumentPlace::RawTracepoint { event, .. } | ArgumentPlace::Tracepoint { event, .. } => event,
    };
    let noun = wanted::noun(requested);
    let advice = match other_index(argument, requested, place, kernel) {
        Some(index) => format!("its {noun} is index {index}"),
        None => suggested_type(found, requested),
    };
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) && !noun.starts_with("uint") { "an" } else { "a" };
    let behind = if argument.resolve.is_empty() { "there".into() } else { format!("at {}", argument.resolve) };
    format!("{name} has {found} {behind} in this kernel, not {article} {noun}; {advice}")
}

/// Index of the one other argument that has the requested type.
fn other_index(
    argument: &Argument,
    requested: ArgumentType,
    place: &ArgumentPlace,
    kernel: &dyn Kernel,
) -> Option<usize> {
    let types: Vec<&CType> = match place {
        ArgumentPlace::Function { function: Some(function), .. } => {
            function.parameters.iter().map(|parameter| &parameter.r#type).collect()
        }
        ArgumentPlace::RawTracepoint { types, .. } => types.iter().collect(),
        _ => return None,
    };
    if !argument.resolve.is_empty()
        || argument.source.is_some()
        || matches!(wanted::simple(requested), None | Some(WantedContent::Number { .. }))
    {
        return None;
    }
    let fits = |index: &usize| {
        let at = Argument { index: i32::try_from(*index).unwrap_or(i32::MAX), ..argument.clone() };
        let Ok(begin) = begin(&at, Role::Argument, place, kernel) else { return false };
        let Ok((_, wanted)) = wanted::of_type(requested, &begin.at) else { return false };
        finish(&at, Role::Argument, place, kernel, begin, wanted).is_ok()
    };
    (0..types.len().min(MAX_ARGUMENTS)).find(fits)
}

#[cfg(test)]
mod tests;
