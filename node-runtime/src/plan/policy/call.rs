//! `call` and `lists` -> functions of this kernel, and numbers of system calls.

use regex::Regex;
use trilobite_crds::policy::{Kprobe, List, ListType, TracingPolicySpec, Word, value::LIST_PREFIX};

use super::{kernel_view::Kernel, syscalls};
use crate::{kernel::symbols::Symbol, problem::Problem};

/// The most functions of one list on a kernel.
const MAX_FUNCTIONS: usize = 4096;

/// A function that a hook is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) is_syscall: bool,
}

/// The functions of a hook: those that can be attached to, and what is to be known about the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Calls {
    pub(super) functions: Vec<Call>,
    /// Whether a list named them.
    pub(super) is_list: bool,
    pub(super) notes: Vec<Problem>,
}

/// Finds the functions of a hook. A function that is missing is a refusal, unless `ignore.callNotFound` says otherwise, or a
/// generated list named it.
pub(super) fn functions(
    hook: &Kprobe,
    path: &str,
    spec: &TracingPolicySpec,
    kernel: &dyn Kernel,
) -> Result<Calls, Problem> {
    let field = format!("{path}.call");
    let ignores_missing = hook.ignore.as_ref().is_some_and(|ignore| ignore.call_not_found);
    let mut calls = Calls::default();
    let wanted = match hook.call.strip_prefix(LIST_PREFIX) {
        None => vec![(hook.call.clone(), hook.syscall)],
        Some(name) => {
            calls.is_list = true;
            let list = spec.list(name).ok_or_else(|| Problem::Unsupported {
                field: field.clone(),
                detail: format!("there is no list {name}; add it to spec.lists"),
            })?;
            match list_type(list) {
                Some(ListType::GeneratedSyscalls | ListType::GeneratedFtrace) => {
                    calls.functions = generated(list, &field, kernel)?;
                    return Ok(calls);
                }
                Some(ListType::Syscalls) => list.values.iter().map(|name| (name.clone(), true)).collect(),
                None => list.values.iter().map(|name| (name.clone(), hook.syscall)).collect(),
            }
        }
    };
    for (name, is_syscall) in wanted {
        match find(&name, is_syscall, kernel) {
            Ok(call) => calls.functions.push(call),
            Err((name, Symbol::NotTraceable)) => return Err(Problem::NotAttachable { name, field }),
            Err((name, _)) if ignores_missing => {
                calls.notes.push(Problem::FunctionLeftOut { name, field: field.clone() });
            }
            Err((name, _)) => {
                let advice = if is_syscall && !name.contains("sys_") {
                    "set syscall: false where it is no system call"
                } else {
                    "set ignore.callNotFound, or see `trilobite policy check`"
                };
                return Err(Problem::NoSuchFunction { name, advice: advice.into(), field });
            }
        }
    }
    calls.functions.sort();
    calls.functions.dedup();
    Ok(calls)
}

/// The first of a call's names that can be traced; otherwise the name that says most, and what it is.
fn find(name: &str, is_syscall: bool, kernel: &dyn Kernel) -> Result<Call, (String, Symbol)> {
    // A system call's own function has the registers as its argument, whatever the policy says of it: all policies on it must mean
    // the same by an index.
    let is_syscall = is_syscall || syscalls::is_syscall_symbol(name);
    let names = if is_syscall {
        syscalls::symbols(syscalls::parse(name), kernel.architecture())
    } else {
        vec![name.to_owned()]
    };
    let mut refused = None;
    for name in names {
        match kernel.symbol(&name) {
            Symbol::Traceable => return Ok(Call { name, is_syscall }),
            Symbol::NotTraceable => refused = Some((name, Symbol::NotTraceable)),
            Symbol::Missing => refused = refused.or(Some((name, Symbol::Missing))),
        }
    }
    Err(refused.unwrap_or_else(|| (name.to_owned(), Symbol::Missing)))
}

fn generated(list: &List, field: &str, kernel: &dyn Kernel) -> Result<Vec<Call>, Problem> {
    let refused = |detail: String| Problem::Unsupported { field: field.to_owned(), detail };
    let architecture = kernel.architecture();
    let is_syscalls = list_type(list) == Some(ListType::GeneratedSyscalls);
    let found = if is_syscalls {
        kernel.traceable_functions(&|name| syscalls::is_function(name, architecture))
    } else {
        let pattern = Regex::new(&list.pattern)
            .map_err(|_| refused(format!("the pattern of list {} cannot be read; correct spec.lists", list.name)))?;
        kernel.traceable_functions(&|name| pattern.is_match(name))
    };
    let found = found.ok_or_else(|| {
        refused(
            "the functions of this kernel cannot be listed, since tracefs cannot be read; name them in a list".into(),
        )
    })?;
    if found.is_empty() {
        return Err(refused(format!("no function of this kernel is in list {}; correct its pattern", list.name)));
    }
    if found.len() > MAX_FUNCTIONS {
        let (count, name) = (found.len(), &list.name);
        return Err(refused(format!(
            "list {name} has {count} functions in this kernel, and at most {MAX_FUNCTIONS} are possible; use a closer pattern"
        )));
    }
    Ok(found.into_iter().map(|name| Call { name, is_syscall: is_syscalls }).collect())
}

fn list_type(list: &List) -> Option<ListType> {
    list.r#type.as_ref().and_then(Word::known)
}

/// Lists as filters on numbers see them: the numbers of system calls in place of their names.
pub(super) fn numeric_lists(lists: &[List], kernel: &dyn Kernel) -> Vec<List> {
    let architecture = kernel.architecture();
    let number = |text: &String| {
        let number = syscalls::number(syscalls::parse(text), architecture);
        // A number with the bit of the ABI is below zero, as the value that it is compared with.
        number.map_or_else(|| text.clone(), |number| number.cast_signed().to_string())
    };
    let each = lists.iter().map(|list| {
        let values = match list_type(list) {
            Some(ListType::Syscalls) => list.values.iter().map(number).collect(),
            Some(ListType::GeneratedSyscalls) => {
                syscalls::all(architecture).map(|(number, _)| number.to_string()).collect()
            }
            Some(ListType::GeneratedFtrace) | None => list.values.clone(),
        };
        List { values, ..list.clone() }
    });
    each.collect()
}
