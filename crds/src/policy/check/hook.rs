//! One hook: its function or tracepoint, arguments, selectors.

use super::{
    argument::{ArgumentPlace, check_argument},
    fault::Faults,
    function::check_call,
    nearest::advice,
    selector::{SelectorContext, check_selector},
    wording::shown,
};
use crate::policy::{ActionKind, Hook, Kprobe, TracingPolicySpec};

pub(super) fn check_hook(
    path: &str,
    hook: Hook<'_>,
    policy: &TracingPolicySpec,
    is_namespaced: bool,
    faults: &mut Faults,
) {
    let (place, is_raw) = match hook {
        Hook::Kprobe(_) | Hook::Fentry(_) => (ArgumentPlace::Function, false),
        Hook::Tracepoint(hook) if hook.raw => (ArgumentPlace::Function, true),
        Hook::Tracepoint(_) => (ArgumentPlace::Record, false),
    };
    if let Hook::Kprobe(function) | Hook::Fentry(function) = hook {
        check_call(path, function, policy, faults);
        check_return(path, function, faults);
    }
    for (index, argument) in hook.args().iter().enumerate() {
        check_argument(&format!("{path}.args[{index}]"), argument, place, is_raw, faults);
    }
    for (index, argument) in hook.data().iter().enumerate() {
        check_argument(&format!("{path}.data[{index}]"), argument, place, is_raw, faults);
    }
    // As in Tetragon, an empty message is none, and a long one is cut.
    if hook.message().chars().count() == 1 {
        faults.invalid(&format!("{path}.message"), || "must have at least 2 characters, or be left out".into());
    }
    let context = SelectorContext { hook, policy, is_namespaced };
    for (index, selector) in hook.selectors().iter().enumerate() {
        let path = format!("{path}.selectors[{index}]");
        check_selector(&path, selector, &context, faults);
        for (at, name) in selector.macros.iter().enumerate() {
            match policy.selectors_macros.get(name) {
                Some(added) => {
                    check_selector(&format!("spec.selectorsMacros.{name}"), added, &context, faults);
                    if added.match_workloads.is_some() && selector.match_workloads.is_some() {
                        faults.invalid(&format!("{path}.matchWorkloads"), || {
                            format!("the macro {} has matchWorkloads too; remove one of them", shown(name))
                        });
                    }
                }
                None => faults.invalid(&format!("{path}.macros[{at}]"), || {
                    let names = policy.selectors_macros.keys().map(String::as_str);
                    let advice = advice(name, names, "add it, or correct the name");
                    format!("spec.selectorsMacros has no {}; {advice}", shown(name))
                }),
            }
        }
    }
}

fn check_return(path: &str, hook: &Kprobe, faults: &mut Faults) {
    if let Some(argument) = &hook.return_arg {
        check_argument(&format!("{path}.returnArg"), argument, ArgumentPlace::Returned, false, faults);
    } else if hook.r#return {
        faults.invalid(&format!("{path}.returnArg"), || {
            "must be set where return is true, e.g. {index: 0, type: int}".into()
        });
    }
    let Some(action) = &hook.return_arg_action else { return };
    let field = format!("{path}.returnArgAction");
    match action.known() {
        Some(ActionKind::TrackSock | ActionKind::UntrackSock) if hook.r#return => {}
        Some(ActionKind::TrackSock | ActionKind::UntrackSock) => {
            faults.invalid(&field, || "needs return: true; set it, or remove this".into());
        }
        _ => faults.invalid(&field, || format!("{} must be TrackSock or UntrackSock", shown(action.as_str()))),
    }
}
