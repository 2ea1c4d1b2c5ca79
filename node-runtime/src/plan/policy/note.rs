//! What users should know of a policy that is active.

use trilobite_crds::policy::{Action, ArgumentType, BinaryFilter, Hook, PolicyMode, ValueFilter};

use super::item::PolicyContext;
use crate::problem::Problem;

/// What users should know of a hook that is active.
pub(super) fn add_notes(notes: &mut Vec<Problem>, field: &str, hook: Hook<'_>, context: &PolicyContext<'_>) {
    let is_syscall = match hook {
        Hook::Kprobe(function) | Hook::Fentry(function) => function.syscall,
        Hook::Tracepoint(tracepoint) => tracepoint.subsystem == "syscalls",
    };
    let is_pointer = |filter: &ValueFilter| {
        let argument = hook.argument_position(filter).and_then(|position| hook.args().get(position));
        argument.is_some_and(|argument| {
            matches!(
                argument.r#type.known(),
                Some(ArgumentType::String | ArgumentType::CharBuf | ArgumentType::Sockaddr | ArgumentType::SockaddrUn)
            )
        })
    };
    for (number, selector) in hook.selectors().iter().enumerate() {
        let path = format!("{field}.selectors[{number}]");
        if let Some(at) = selector.match_args.iter().position(|filter| is_syscall && is_pointer(filter)) {
            notes.push(Problem::SyscallPointer { field: format!("{path}.matchArgs[{at}]") });
        }
        let is_late = |action: &Action| action.signal().is_some();
        if context.spec.mode() == PolicyMode::Enforce
            && let Some(at) = selector.match_actions.iter().position(is_late)
        {
            notes.push(Problem::SignalIsLate { field: format!("{path}.matchActions[{at}]") });
        }
        if hook.is_before_exec()
            && let Some(at) = selector.match_binaries.iter().position(BinaryFilter::is_positive)
        {
            notes.push(Problem::MatchesExecutedFile { field: format!("{path}.matchBinaries[{at}]") });
        }
    }
}
