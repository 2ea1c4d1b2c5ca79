//! From the stack's words to Tetragon's messages.

use prost_types::FieldMask;
use trilobite_api::tetragon::{self as api, CapabilitiesType, EventType, FieldFilterAction};
use trilobite_crds::stack::{CapabilitySetFilter, EventFieldFilter, EventFilter, FieldAction};

use crate::problem::Problem;

/// Fields of the stack by the names that refusals of filters begin with.
const FIELDS: [(&str, &str); 4] = [
    ("allow_list", "allowList"),
    ("deny_list", "denyList"),
    ("field_filters", "fieldFilters"),
    ("redaction_filters", "redactionFilters"),
];

/// A problem of the field that `detail` begins with: `allow_list[0].pod_regex[1]: ...`.
pub(super) fn refusal(field: &str, detail: &str) -> Problem {
    let (path, detail) = detail.split_once(": ").unwrap_or(("", detail));
    let name = FIELDS.iter().find_map(|(from, to)| path.strip_prefix(from).map(|rest| format!("{field}.{to}{rest}")));
    Problem::Unsupported { field: name.unwrap_or_else(|| field.to_owned()), detail: detail.to_owned() }
}

pub(super) fn filters(filters: &[EventFilter], list: &str) -> Result<Vec<api::Filter>, String> {
    filters.iter().enumerate().map(|(at, from)| filter(from, &format!("{list}[{at}]"))).collect()
}

fn filter(from: &EventFilter, path: &str) -> Result<api::Filter, String> {
    let from = from.clone();
    let set = |set: Option<CapabilitySetFilter>, name: &str| {
        set.map(|set| capability_set(&set, &format!("{path}.capabilities.{name}"))).transpose()
    };
    Ok(api::Filter {
        binary_regex: from.binary_regex,
        namespace: from.namespace,
        health_check: from.health_check,
        pid: from.pid,
        pid_set: from.pid_set,
        event_set: event_set(&from.event_set, path)?,
        pod_regex: from.pod_regex,
        arguments_regex: from.arguments_regex,
        labels: from.labels,
        policy_names: from.policy_names,
        capabilities: from
            .capabilities
            .map(|sets| {
                Ok::<_, String>(api::CapFilter {
                    permitted: set(sets.permitted, "permitted")?,
                    effective: set(sets.effective, "effective")?,
                    inheritable: set(sets.inheritable, "inheritable")?,
                })
            })
            .transpose()?,
        parent_binary_regex: from.parent_binary_regex,
        cel_expression: from.cel_expression,
        parent_arguments_regex: from.parent_arguments_regex,
        container_id: from.container_id,
        in_init_tree: from.in_init_tree,
        ancestor_binary_regex: from.ancestor_binary_regex,
        container_name_regex: from.container_name_regex,
        namespace_regex: from.namespace_regex,
    })
}

fn event_set(names: &[String], path: &str) -> Result<Vec<i32>, String> {
    let number = |(at, name): (usize, &String)| match EventType::from_str_name(name) {
        Some(kind) => Ok(kind.into()),
        None => Err(format!("{path}.event_set[{at}]: {name} is not known; the types are {}", event_types())),
    };
    names.iter().enumerate().map(number).collect()
}

/// Those that this agent sends.
fn event_types() -> String {
    crate::serve::tetragon::EVENT_TYPES.map(|kind| kind.as_str_name()).join(", ")
}

fn capability_set(set: &CapabilitySetFilter, path: &str) -> Result<api::CapFilterSet, String> {
    let numbers = |names: &[String], list: &str| {
        let number = |(at, name): (usize, &String)| {
            // Tetragon's own name of this one lacks the prefix.
            let name = if name == "CAP_DAC_OVERRIDE" { "DAC_OVERRIDE" } else { name };
            let known = CapabilitiesType::from_str_name(name).map(Into::into);
            known.ok_or_else(|| format!("{path}.{list}[{at}]: {name} is no capability"))
        };
        names.iter().enumerate().map(number).collect::<Result<Vec<i32>, String>>()
    };
    Ok(api::CapFilterSet {
        any: numbers(&set.any, "any")?,
        all: numbers(&set.all, "all")?,
        exactly: numbers(&set.exactly, "exactly")?,
        none: numbers(&set.none, "none")?,
    })
}

pub(super) fn field_filters(filters: &[EventFieldFilter]) -> Result<Vec<api::FieldFilter>, String> {
    let convert = |(at, from): (usize, &EventFieldFilter)| {
        let paths = from.fields.split(',').map(|path| path.trim().to_owned()).filter(|path| !path.is_empty());
        let action = match from.action {
            FieldAction::Include => FieldFilterAction::Include,
            FieldAction::Exclude => FieldFilterAction::Exclude,
        };
        Ok(api::FieldFilter {
            event_set: event_set(&from.event_set, &format!("field_filters[{at}]"))?,
            fields: Some(FieldMask { paths: paths.collect() }),
            action: action.into(),
            invert_event_set: Some(from.invert_event_set),
        })
    };
    filters.iter().enumerate().map(convert).collect()
}
