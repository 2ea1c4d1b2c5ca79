//! Arguments and data.

use super::{
    fault::Faults,
    nearest::advice,
    wording::{known_word, shown},
};
use crate::policy::{Argument, ArgumentSource, ArgumentType, Vocabulary, Word, argument::MAX_ARGUMENT_INDEX};

/// Most steps of `resolve`.
const MAX_STEPS: usize = 10;

/// Where an argument stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ArgumentPlace {
    /// Of a function or a raw tracepoint.
    Function,
    /// A field of a trace record.
    Record,
    /// The returned value of a function.
    Returned,
}

pub(super) fn check_argument(path: &str, argument: &Argument, place: ArgumentPlace, is_raw: bool, faults: &mut Faults) {
    check_type(path, argument, place, is_raw, faults);
    let source = argument.source.as_ref();
    let source = source.and_then(|word| known_word(&format!("{path}.source"), word, ArgumentSource::ALL, faults));
    if place == ArgumentPlace::Function && source.is_none() && argument.index > MAX_ARGUMENT_INDEX {
        let index = argument.index;
        faults.invalid(&format!("{path}.index"), || format!("{index} must be at most {MAX_ARGUMENT_INDEX}"));
    }
    if source.is_some() && place == ArgumentPlace::Returned {
        faults.invalid(&format!("{path}.source"), || "a returned value has no other source; remove it".into());
    } else if source.is_some() && argument.resolve.is_empty() {
        faults.invalid(&format!("{path}.resolve"), || "must be set where source is set, e.g. cred.uid.val".into());
    }
    check_resolve(path, argument, place, source, faults);
    check_buffer(path, argument, place, faults);
}

fn check_type(path: &str, argument: &Argument, place: ArgumentPlace, is_raw: bool, faults: &mut Faults) {
    let field = format!("{path}.type");
    let Some(r#type) = known_type(argument) else {
        return unknown_type(&field, argument.r#type.as_str(), faults);
    };
    let is_tracepoint = is_raw || place == ArgumentPlace::Record;
    match r#type {
        // BTF says the type of a raw tracepoint's argument, and that of a member.
        ArgumentType::Auto if !is_tracepoint && argument.resolve.is_empty() => {
            faults.invalid(&field, || "must be set, e.g. to int, string, file or sock; auto is for tracepoints".into());
        }
        ArgumentType::Syscall64 if !is_tracepoint => {
            faults.invalid(&field, || "syscall64 is for tracepoints; use int64".into());
        }
        ArgumentType::DataLoc if place != ArgumentPlace::Record => {
            faults.invalid(&field, || "data_loc is for the records of tracepoints; use string".into());
        }
        _ => {}
    }
}

fn check_resolve(
    path: &str,
    argument: &Argument,
    place: ArgumentPlace,
    source: Option<ArgumentSource>,
    faults: &mut Faults,
) {
    let Argument { resolve, btf_type, btf_type_module, .. } = argument;
    let field = format!("{path}.resolve");
    if resolve.is_empty() {
        for (name, text) in [("btfType", btf_type), ("btfTypeModule", btf_type_module)] {
            if !text.is_empty() {
                faults.invalid(&format!("{path}.{name}"), || "needs resolve; set it, or remove this".into());
            }
        }
        return;
    }
    if place == ArgumentPlace::Record && source.is_none() {
        faults.invalid(&field, || "a field of a trace record has no members; set raw: true, or remove it".into());
    }
    let steps = resolve.split(['.', '[']).count();
    if !is_member_path(resolve) {
        faults.invalid(&field, || {
            format!("{} must be names between dots, e.g. mm.owner.comm or fds[3].file", shown(resolve))
        });
    } else if steps > MAX_STEPS {
        faults.invalid(&field, || format!("must have at most {MAX_STEPS} steps, has {steps}"));
    }
    if !btf_type_module.is_empty() && btf_type.is_empty() {
        faults.invalid(&format!("{path}.btfTypeModule"), || "needs btfType; set it, or remove this".into());
    }
}

/// Names of members, each with indexes behind it.
fn is_member_path(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    text.split('.').all(|step| {
        let mut parts = step.split('[');
        let has_name = parts.next().is_some_and(|name| is_name(name) || (name.is_empty() && step.starts_with('[')));
        let is_index = |part: &str| {
            let digits = part.strip_suffix(']').unwrap_or_default();
            !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|digit| digit.is_ascii_digit())
        };
        has_name && !step.is_empty() && parts.all(is_index)
    })
}

fn check_buffer(path: &str, argument: &Argument, place: ArgumentPlace, faults: &mut Faults) {
    let Some(r#type) = argument.r#type.known() else { return };
    let is_buffer = matches!(r#type, ArgumentType::CharBuf | ArgumentType::CharIovec);
    let is_long = is_buffer || matches!(r#type, ArgumentType::IovIter | ArgumentType::ConstBuf);
    for (name, is_set, applies) in [
        ("sizeArgIndex", argument.size_arg_index != 0, is_buffer),
        ("returnCopy", argument.return_copy, is_buffer),
        ("maxData", argument.max_data, is_long),
    ] {
        if is_set && !applies {
            faults.invalid(&format!("{path}.{name}"), || {
                format!("is for buffers such as char_buf, this is {}; remove it", with_article(r#type))
            });
        }
    }
    let highest = MAX_ARGUMENT_INDEX + 1;
    if argument.size_arg_index > highest && place != ArgumentPlace::Record {
        let number = argument.size_arg_index;
        faults.invalid(&format!("{path}.sizeArgIndex"), || format!("{number} must be at most {highest}"));
    }
    if is_buffer && argument.size_arg_index == 0 && !argument.return_copy && place != ArgumentPlace::Record {
        faults.invalid(&format!("{path}.sizeArgIndex"), || {
            format!("must be the number of the argument, from 1, that has the size of the {type}", r#type = r#type)
        });
    }
}

/// There are too many types to list them.
fn unknown_type(field: &str, word: &str, faults: &mut Faults) {
    let names = ArgumentType::ALL.iter().map(|r#type| r#type.as_str());
    faults.invalid(field, || {
        format!("{} is not known; {}", shown(word), advice(word, names, "see docs/which-policies-work.md"))
    });
}

/// A type as a noun.
pub(super) fn with_article(r#type: ArgumentType) -> String {
    let name = r#type.as_str();
    let article = if name.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// The type of an argument, where it is known.
pub(super) fn known_type(argument: &Argument) -> Option<ArgumentType> {
    Word::known(&argument.r#type)
}
