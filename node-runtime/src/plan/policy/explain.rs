//! Plans as text: for `policy explain` and golden tests.

use std::fmt::{self, Write};

use super::{
    Compiled,
    binaries::FollowCondition,
    dimension::{Answers, DimensionKind, DimensionPlan, DimensionTable, Operand},
    hook_plan::{ActionPlan, HookEntry, HookPlan, PolicyId, SelectorPlan, ShownValue},
    predicate::{Predicate, ValueSet},
    value::ValuePlan,
};
use crate::problem::Problem;

/// Longest list of values that is shown in full.
const MOST_VALUES: usize = 8;

/// All plans; `name` says how a policy is called.
pub fn explain(compiled: &Compiled, name: &dyn Fn(PolicyId) -> String) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_all(&mut text, compiled, name);
    text
}

fn write_all(text: &mut String, compiled: &Compiled, name: &dyn Fn(PolicyId) -> String) -> fmt::Result {
    for hook in compiled.hooks.values() {
        write_hook(text, hook, name)?;
    }
    for (bit, condition) in &compiled.binaries.followed {
        writeln!(text, "inherited condition {bit}: {}", shown_condition(condition))?;
    }
    write_problems(text, "refused", &compiled.refused, name)?;
    write_problems(text, "note", &compiled.notes, name)
}

fn write_problems(
    text: &mut String,
    word: &str,
    problems: &std::collections::BTreeMap<PolicyId, Vec<Problem>>,
    name: &dyn Fn(PolicyId) -> String,
) -> fmt::Result {
    for (policy, problems) in problems {
        for problem in problems {
            writeln!(text, "{word} {}: {}: {}", name(*policy), problem.reason().as_str(), problem.message())?;
        }
    }
    Ok(())
}

fn write_hook(text: &mut String, hook: &HookPlan, name: &dyn Fn(PolicyId) -> String) -> fmt::Result {
    writeln!(text, "{}", hook.point)?;
    if !hook.further_functions.is_empty() {
        let count = hook.further_functions.len();
        let first: Vec<&str> = hook.further_functions.iter().take(MOST_VALUES).map(String::as_str).collect();
        let rest = if count > first.len() { ", ..." } else { "" };
        writeln!(text, "  and {count} further functions: {}{rest}", first.join(", "))?;
    }
    let ways: Vec<String> = hook.attachment.ways.iter().map(ToString::to_string).collect();
    writeln!(text, "  attached by {}", ways.join(", then "))?;
    for passed in &hook.attachment.passed_over {
        writeln!(text, "    not by {}: {}", passed.way, passed.why)?;
    }
    for (index, value) in hook.values.iter().enumerate() {
        writeln!(text, "  value {index}: {}", shown_value(value))?;
    }
    for (index, (dimension, table)) in hook.dimensions.iter().zip(&*hook.tables).enumerate() {
        writeln!(text, "  dimension {index}: {}; {}", shown_dimension(dimension), size(table))?;
    }
    writeln!(text, "  {} selector bits", hook.width.bits())?;
    for (index, entry) in hook.entries.iter().enumerate() {
        writeln!(text, "  {} {}{}", name(entry.policy), entry.field, shown_outputs(entry))?;
        for selector in hook.selectors.iter().filter(|selector| usize::from(selector.entry) == index) {
            write_selector(text, selector)?;
        }
    }
    Ok(())
}

fn write_selector(text: &mut String, selector: &SelectorPlan) -> fmt::Result {
    let actions: Vec<String> = selector.actions.iter().map(shown_action).collect();
    write!(text, "    bit {} selector {}: ", selector.bit, selector.selector)?;
    let conditions: Vec<String> = selector.predicates.iter().map(shown_predicate).collect();
    let conditions = if conditions.is_empty() { "every call".into() } else { conditions.join(" and ") };
    writeln!(text, "{conditions} -> {}", actions.join(", "))
}

fn shown_value(value: &ValuePlan) -> String {
    let mut text = value.source.to_string();
    for step in &value.steps {
        let _ = write!(text, "{}{}", if step.dereference { " -> +" } else { " +" }, step.offset);
    }
    let _ = write!(text, " as {}", value.kind);
    if value.bound != 0 {
        let _ = write!(text, ", {} bytes", value.bound);
    }
    if let Some(size) = value.size_from {
        let _ = write!(text, ", size from value {size}");
    }
    let purpose = match (value.is_filtered, value.is_emitted) {
        (true, true) => "compared and shown",
        (true, false) => "compared",
        (false, true) => "shown",
        (false, false) => "a size",
    };
    let _ = write!(text, "; {purpose}{}", if value.at_return { ", at the return" } else { "" });
    text
}

fn shown_dimension(dimension: &DimensionPlan) -> String {
    let operand = match dimension.operand {
        Operand::Value { index, facet } => format!("{facet:?} of value {index}"),
        Operand::Process(fact) => format!("{fact:?}"),
    };
    let ordinal = if dimension.ordinal == 0 { String::new() } else { format!(" ({})", dimension.ordinal) };
    let case = if dimension.ignore_case { ", without case" } else { "" };
    let unsigned = if dimension.unsigned { ", unsigned" } else { "" };
    format!("{:?} on {operand}{case}{unsigned}{ordinal}", dimension.kind)
}

fn size(table: &DimensionTable) -> String {
    match &table.answers {
        Answers::Interval { bounds, .. } => format!("{} intervals", bounds.len()),
        Answers::Bytes { .. } => "8 x 256 rows".into(),
        Answers::Id { rows } => format!("{} ids", rows.len().saturating_sub(1)),
        Answers::Exact { rows } | Answers::Affix { rows } => format!("{} keys", rows.len()),
        Answers::Address { rows } => format!("{} networks", rows.len()),
        Answers::Substring { automaton, .. } => {
            format!("{} states, {} classes", automaton.states(), automaton.class_count)
        }
    }
}

fn shown_outputs(entry: &HookEntry) -> String {
    if entry.is_entry_of_return {
        return " (actions at the entry)".into();
    }
    let shown = |shown: &ShownValue| format!("value {} as {}", shown.value, shown.r#type);
    let args: Vec<String> = entry.args.iter().chain(&entry.data).chain(&entry.returned).map(shown).collect();
    if args.is_empty() { String::new() } else { format!(" shows {}", args.join(", ")) }
}

fn shown_action(action: &ActionPlan) -> String {
    match action {
        ActionPlan::Post { rate_limit_ns, scope, kernel_stack, user_stack } => {
            let mut text = "Post".to_owned();
            if *rate_limit_ns != 0 {
                let _ = write!(text, " at most every {} ms a {scope:?}", rate_limit_ns / 1_000_000);
            }
            text.push_str(if *kernel_stack { " with the kernel's stack" } else { "" });
            text.push_str(if *user_stack { " with the program's stack" } else { "" });
            text
        }
        ActionPlan::NoPost => "no event".into(),
        ActionPlan::Signal { number, is_monitored: false } => format!("signal {number}"),
        ActionPlan::Signal { number, is_monitored: true } => format!("signal {number} (only reported)"),
        ActionPlan::TrackSock { value } => format!("TrackSock value {value}"),
        ActionPlan::UntrackSock { value } => format!("UntrackSock value {value}"),
    }
}

fn shown_predicate(predicate: &Predicate) -> String {
    let unsigned = predicate.dimension.unsigned;
    let terms: Vec<String> = predicate
        .terms
        .iter()
        .map(|term| {
            let is = if term.is_negated { "not " } else { "" };
            format!("{is}{}", shown_set(&term.set, predicate.dimension.kind, unsigned))
        })
        .collect();
    let what = match predicate.dimension.operand {
        Operand::Value { index, facet } => format!("{facet:?} of value {index}"),
        Operand::Process(fact) => format!("{fact:?}"),
    };
    format!("{what} {:?} {}", predicate.dimension.kind, terms.join(" and "))
}

fn shown_set(set: &ValueSet, kind: DimensionKind, unsigned: bool) -> String {
    let number = |number: i64| {
        if unsigned { (number.cast_unsigned() ^ 1 << 63).to_string() } else { number.to_string() }
    };
    match set {
        ValueSet::Ranges(ranges) => {
            listed(ranges.iter().map(|(from, to)| {
                if from == to { number(*from) } else { format!("{}:{}", number(*from), number(*to)) }
            }))
        }
        ValueSet::Mask(mask) => format!("{mask:#x}"),
        ValueSet::Texts(texts) => listed(texts.iter().map(|text| {
            let text = String::from_utf8_lossy(text);
            match kind {
                DimensionKind::Prefix => format!("{text}*"),
                DimensionKind::Suffix => format!("*{text}"),
                DimensionKind::Substring => format!("*{text}*"),
                _ => text.into_owned(),
            }
        })),
        ValueSet::Networks(networks) => listed(networks.iter().map(|network| {
            let address = if network.family == 4 {
                let [a, b, c, d, ..] = network.address;
                std::net::IpAddr::from([a, b, c, d])
            } else {
                std::net::IpAddr::from(network.address)
            };
            format!("{address}/{}", network.bits)
        })),
    }
}

fn listed(values: impl ExactSizeIterator<Item = String>) -> String {
    let count = values.len();
    let first: Vec<String> = values.take(MOST_VALUES).collect();
    let rest = if count > first.len() { format!(", {} more", count - first.len()) } else { String::new() };
    format!("[{}{rest}]", first.join(", "))
}

fn shown_condition(condition: &FollowCondition) -> String {
    let texts = |texts: &std::collections::BTreeSet<Vec<u8>>| {
        listed(texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()))
    };
    match condition {
        FollowCondition::Binaries(set) => format!("binary is one of {}", texts(set)),
        FollowCondition::Pids { in_own_namespace, pids } => {
            let place = if *in_own_namespace { " in its own namespace" } else { "" };
            format!("pid{place} is one of {}", listed(pids.iter().map(ToString::to_string)))
        }
    }
}
