//! Named lists.

use super::fault::Faults;
use super::{
    nearest::advice,
    wording::{known_word, shown},
};
use crate::policy::Vocabulary as _;
use crate::policy::{
    List, ListType, TracingPolicySpec, Word,
    value::{self, LIST_PREFIX},
};

pub(super) fn check_list(path: &str, index: usize, list: &List, policy: &TracingPolicySpec, faults: &mut Faults) {
    if policy.lists.iter().take(index).any(|earlier| earlier.name == list.name) {
        faults.invalid(&format!("{path}.name"), || format!("{} is the name of an earlier list", shown(&list.name)));
    }
    let written = list.r#type.as_ref();
    let r#type = written.and_then(|word| known_word(&format!("{path}.type"), word, ListType::ALL, faults));
    let has_pattern = !list.pattern.is_empty();
    let values = format!("{path}.values");
    let pattern = format!("{path}.pattern");
    match r#type {
        Some(ListType::GeneratedFtrace) if !has_pattern => {
            faults.invalid(&pattern, || "must be set for generated_ftrace, e.g. ^ksys_*".into());
        }
        Some(ListType::GeneratedSyscalls) if has_pattern => {
            faults.invalid(&pattern, || "is for generated_ftrace; remove it".into());
        }
        Some(ListType::GeneratedFtrace | ListType::GeneratedSyscalls) if !list.values.is_empty() => {
            faults.invalid(&values, || "each node fills a generated list; remove them".into());
        }
        Some(ListType::GeneratedFtrace | ListType::GeneratedSyscalls) => {}
        Some(ListType::Syscalls) | None if written.is_some_and(|word| word.known().is_none()) => {}
        Some(ListType::Syscalls) | None if has_pattern => {
            faults.invalid(&pattern, || "is for generated_ftrace; remove it".into());
        }
        Some(ListType::Syscalls) | None if list.values.is_empty() => {
            faults.invalid(&values, || "must have at least 1 item".into());
        }
        Some(ListType::Syscalls) | None => {}
    }
    for (index, value) in list.values.iter().enumerate().filter(|(_, value)| value.is_empty()) {
        faults.invalid(&format!("{values}[{index}]"), || format!("{value:?} is no name"));
    }
}

/// The list that `text` names by `list:NAME`, or a fault.
pub(super) fn named_list<'a>(
    field: &str,
    text: &str,
    policy: &'a TracingPolicySpec,
    faults: &mut Faults,
) -> Option<&'a List> {
    let name = text.strip_prefix(LIST_PREFIX)?;
    let list = policy.list(name);
    if list.is_none() {
        let names = policy.lists.iter().map(|list| list.name.as_str());
        faults.invalid(field, || {
            format!("spec.lists has no list {}; {}", shown(name), advice(name, names, "add it, or correct the name"))
        });
    }
    list
}

/// Checks that a list can be compared with numbers: system calls have numbers, other lists must consist of them.
pub(super) fn check_numeric(field: &str, list: &List, faults: &mut Faults) {
    let is_generated_by_name = list.r#type.as_ref().and_then(Word::known) == Some(ListType::GeneratedFtrace);
    let has_names = list.r#type.is_none() && list.values.iter().any(|value| value::range(value).is_none());
    if is_generated_by_name || has_names {
        let name = &list.name;
        faults.invalid(field, || {
            format!("list {name} has names of functions, which are no numbers; set its type to syscalls")
        });
    }
}
