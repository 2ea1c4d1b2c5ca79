//! One selector in the context of its hook.

use super::{
    action::{ActionPlace, check_actions},
    fault::Faults,
    process::check_process_filters,
    scope::check_workloads,
    value_filter::{Operands, check_value_filter},
};
use crate::policy::{Argument, Hook, Selector, TracingPolicySpec, ValueFilter};

pub(super) struct SelectorContext<'a> {
    pub(super) hook: Hook<'a>,
    pub(super) policy: &'a TracingPolicySpec,
    pub(super) is_namespaced: bool,
}

pub(super) fn check_selector(path: &str, selector: &Selector, context: &SelectorContext<'_>, faults: &mut Faults) {
    let SelectorContext { hook, policy, is_namespaced } = context;
    let is_macro = path.starts_with("spec.selectorsMacros.");
    if is_macro && !selector.macros.is_empty() {
        faults.invalid(&format!("{path}.macros"), || "a macro cannot name others; write their filters here".into());
    }
    check_process_filters(path, selector, faults);
    let returned: Vec<Argument> = hook.return_arg().into_iter().cloned().collect();
    let sections: [(&str, &[ValueFilter], Operands<'_>); 3] = [
        ("matchArgs", &selector.match_args, Operands::arguments_of(*hook)),
        ("matchData", &selector.match_data, Operands::new("data", hook.data(), false)),
        ("matchReturnArgs", &selector.match_return_args, Operands::new("returnArg", &returned, true)),
    ];
    for (section, filters, operands) in sections {
        if section == "matchReturnArgs" && !filters.is_empty() && returned.is_empty() {
            faults.invalid(&format!("{path}.{section}"), || {
                "needs return: true and returnArg of the hook; set them".into()
            });
            continue;
        }
        for (index, filter) in filters.iter().enumerate() {
            check_value_filter(&format!("{path}.{section}[{index}]"), filter, &operands, policy, faults);
        }
    }
    if let Some(workloads) = &selector.match_workloads {
        check_workloads(&format!("{path}.matchWorkloads"), workloads, *is_namespaced, faults);
    }
    check_actions(&format!("{path}.matchActions"), &selector.match_actions, ActionPlace::Entry, *hook, faults);
    if !selector.match_return_actions.is_empty() && returned.is_empty() {
        faults.invalid(&format!("{path}.matchReturnActions"), || {
            "needs return: true and returnArg of the hook; set them".into()
        });
    }
    check_actions(
        &format!("{path}.matchReturnActions"),
        &selector.match_return_actions,
        ActionPlace::Return,
        *hook,
        faults,
    );
}
