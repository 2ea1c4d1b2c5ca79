//! What can be said about a policy without a kernel. Every fault names the path of its field.

mod action;
mod argument;
mod fault;
mod function;
mod hook;
mod list;
pub(crate) mod nearest;
mod process;
mod scope;
mod selector;
mod unknown;
mod value_filter;
mod wording;

pub use fault::{Fault, Faults, MOST_LISTED};

use super::{
    OptionName, OverrideMethod, PolicyMode, TracingPolicySpec, Vocabulary,
    hook::shown_message,
    macros,
    options::{boolean, value},
};
use crate::bounds;
use wording::{either, known_word, shown};

/// The policy with macros expanded and every word in its canonical spelling, or its faults. `is_namespaced` is whether the
/// policy is about the pods of one namespace.
pub fn check(policy: &TracingPolicySpec, is_namespaced: bool) -> Result<TracingPolicySpec, Faults> {
    let mut faults = Faults::default();
    unknown::check_unknown_fields(policy, &mut faults);
    for violation in bounds::violations(policy, "spec") {
        faults.invalid(&violation.field, || violation.message.clone());
    }
    check_later_sections(policy, &mut faults);
    scope::check_scope(policy, is_namespaced, &mut faults);
    check_options(policy, &mut faults);
    for (index, list) in policy.lists.iter().enumerate() {
        list::check_list(&format!("spec.lists[{index}]"), index, list, policy, &mut faults);
    }
    for (path, found) in policy.hooks() {
        hook::check_hook(&path, found, policy, is_namespaced, &mut faults);
    }
    if policy.hooks().next().is_none() && faults.is_empty() {
        faults.invalid("spec", || "the policy requests nothing; set kprobes, fentries or tracepoints".into());
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut expanded = macros::expand(policy);
    cut_messages(&mut expanded);
    if !policy.selectors_macros.is_empty() {
        // Filters of macros and of the selector have to fit together, e.g. in number.
        expanded
            .hooks()
            .for_each(|(path, found)| hook::check_hook(&path, found, &expanded, is_namespaced, &mut faults));
    }
    if faults.is_empty() { Ok(expanded) } else { Err(faults) }
}

/// Leaves out what events do not show.
fn cut_messages(policy: &mut TracingPolicySpec) {
    let functions = policy.kprobes.iter_mut().chain(&mut policy.fentries).map(|hook| &mut hook.message);
    for message in functions.chain(policy.tracepoints.iter_mut().map(|hook| &mut hook.message)) {
        message.truncate(shown_message(message).len());
    }
}

/// Sections of a later version.
fn check_later_sections(policy: &TracingPolicySpec, faults: &mut Faults) {
    let sections = [
        ("uprobes", !policy.uprobes.is_empty()),
        ("usdts", !policy.usdts.is_empty()),
        ("lsmhooks", !policy.lsmhooks.is_empty()),
        ("loader", policy.loader),
        ("enforcers", !policy.enforcers.is_empty()),
    ];
    sections.iter().filter(|(_, is_set)| *is_set).for_each(|(name, _)| faults.unsupported(&format!("spec.{name}")));
}

fn check_options(policy: &TracingPolicySpec, faults: &mut Faults) {
    for (index, option) in policy.options.iter().enumerate() {
        let path = format!("spec.options[{index}]");
        let field = format!("{path}.value");
        let Some(name) = known_word(&format!("{path}.name"), &option.name, OptionName::ALL, faults) else { continue };
        let text = option.value.as_str();
        let mut one_of = |is_valid: bool, words: Vec<&str>| {
            if !is_valid {
                faults.invalid(&field, || format!("{} must be {}", shown(text), either(words.into_iter())));
            }
        };
        match name {
            OptionName::PolicyMode => one_of(PolicyMode::parse(text).is_some(), names::<PolicyMode>()),
            OptionName::OverrideMethod => one_of(OverrideMethod::parse(text).is_some(), names::<OverrideMethod>()),
            OptionName::DisableKprobeMulti | OptionName::DisableUprobeMulti => {
                one_of(boolean(text).is_some(), vec!["true", "false"]);
            }
            OptionName::SleepablePreloadSize => one_of(text.parse::<u32>().is_ok(), vec!["a number"]),
        }
        // The last value of an option would count, and the first would be without effect.
        if value(&policy.options, name) != Some(text) {
            faults.invalid(&path, || format!("{name} is set twice, to different values; remove one"));
        }
    }
}

fn names<T: Vocabulary>() -> Vec<&'static str> {
    T::ALL.iter().map(|word| word.as_str()).collect()
}

#[cfg(test)]
mod tests;
