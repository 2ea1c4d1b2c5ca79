//! What an export writes of the events: types, filters, fields, redaction and a rate limit, as the stack configures them.

mod convert;
mod rate_limit;
mod redaction;

use std::sync::Arc;

use parking_lot::RwLock;
use trilobite_api::{
    field_mask::EventFieldFilters,
    tetragon::{GetEventsResponse, Process, get_events_response::Event},
};
use trilobite_crds::stack::EventSelection;

pub(super) use self::rate_limit::{Admission, RateLimit};
use self::redaction::Redaction;
use crate::{
    layers::security::SecurityEvent,
    problem::Problem,
    serve::tetragon::{EventEncoder, EventFilters, includes_ancestors, processes},
};

/// A compiled selection.
pub(super) struct CompiledSelection {
    /// Numbers of EventType; empty: all.
    types: Vec<i32>,
    filters: EventFilters,
    fields: EventFieldFilters,
    shows_ancestors: bool,
    redaction: Redaction,
    has_flat_pod_keys: bool,
    /// Events a minute; none: no limit.
    pub(super) events_per_minute: Option<u32>,
}

impl CompiledSelection {
    /// `field` is the path of the selection, e.g. `spec.export.stdout`.
    pub(super) fn new(selection: &EventSelection, field: &str, encoder: &EventEncoder) -> Result<Self, Problem> {
        let EventSelection {
            enabled_fields,
            allow_list,
            deny_list,
            field_filters,
            redaction_filters,
            rate_limit,
            flat_pod_keys,
        } = selection;
        let refused = |detail: String| convert::refusal(field, &detail);
        let allow = convert::filters(allow_list, "allow_list").map_err(refused)?;
        let deny = convert::filters(deny_list, "deny_list").map_err(refused)?;
        let field_filters = convert::field_filters(field_filters).map_err(refused)?;
        Ok(Self {
            types: enabled_fields.iter().map(|name| name.number()).collect(),
            filters: EventFilters::with_encoder(allow, deny, encoder)
                .map_err(|status| refused(status.message().to_owned()))?,
            shows_ancestors: includes_ancestors(&field_filters),
            fields: EventFieldFilters::new(field_filters).map_err(|error| refused(error.to_string()))?,
            redaction: Redaction::new(redaction_filters).map_err(refused)?,
            has_flat_pod_keys: *flat_pod_keys,
            events_per_minute: u32::try_from(*rate_limit).ok(),
        })
    }

    pub(super) fn wants_ancestors(&self) -> bool {
        self.shows_ancestors || self.filters.want_ancestors()
    }

    pub(super) fn selects(&self, event: &SecurityEvent) -> bool {
        self.has_type(event.kind.event_type().into()) && self.filters.pass(event)
    }

    /// Also of notices, which no filter is about.
    pub(super) fn has_type(&self, number: i32) -> bool {
        self.types.is_empty() || self.types.contains(&number)
    }

    /// What is written of a selected event.
    pub(super) fn message(&self, event: &SecurityEvent, encoder: &EventEncoder) -> GetEventsResponse {
        let mut message = encoder.message_with(event, self.shows_ancestors);
        if let Some(event) = &mut message.event {
            self.redaction.apply(event);
            if self.has_flat_pod_keys {
                add_flat_pod_keys(event);
            }
        }
        self.fields.apply(message)
    }
}

fn add_flat_pod_keys(event: &mut Event) {
    for process in processes(event) {
        if let Process { pod: Some(pod), pod_name, namespace, .. } = process {
            *pod_name = Some(pod.name.clone());
            *namespace = Some(pod.namespace.clone());
        }
    }
}

/// The selection of an export, which changes without a restart of the export.
#[derive(Clone)]
pub(super) struct SharedSelection(Arc<RwLock<Arc<CompiledSelection>>>);

impl SharedSelection {
    pub(super) fn new(selection: CompiledSelection) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(selection))))
    }

    pub(super) fn get(&self) -> Arc<CompiledSelection> {
        self.0.read().clone()
    }

    pub(super) fn set(&self, selection: CompiledSelection) {
        *self.0.write() = Arc::new(selection);
    }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::stack::{EventFieldFilter, EventFilter, EventName, FieldAction, RedactionFilter};

    use super::*;
    use crate::serve::tetragon::{append_json_line, samples};

    fn compile(selection: &EventSelection) -> Result<CompiledSelection, Problem> {
        CompiledSelection::new(selection, "spec.export.stdout", &samples::encoder())
    }

    fn line(selection: &EventSelection, event: &SecurityEvent) -> serde_json::Value {
        let mut line = Vec::new();
        append_json_line(&compile(selection).unwrap().message(event, &samples::encoder()), &mut line);
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn types_and_filters_both_select() {
        let selection = EventSelection {
            enabled_fields: vec![EventName::ProcessExec, EventName::ProcessKprobe],
            deny_list: vec![EventFilter { namespace: vec![String::new()], ..EventFilter::default() }],
            ..EventSelection::default()
        };
        let compiled = compile(&selection).unwrap();
        assert!(compiled.selects(&samples::exec()) && compiled.selects(&samples::connect()));
        assert!(!compiled.selects(&samples::exit(0, 0)) && !compiled.selects(&samples::tracepoint()));
        assert!(!compiled.selects(&samples::exec_on_the_host()));
        assert!(compile(&EventSelection::default()).unwrap().selects(&samples::exit(0, 0)));
    }

    #[test]
    fn flat_keys_stand_beside_the_pod() {
        let selection = EventSelection { flat_pod_keys: true, ..EventSelection::default() };
        let exec = &line(&selection, &samples::exec())["process_exec"];
        assert_eq!(exec["process"]["pod_name"], "cashier-7f9c-x2");
        assert_eq!(exec["process"]["namespace"], "payments");
        assert_eq!(exec["parent"]["namespace"], "payments");
        let host = line(&selection, &samples::exec_on_the_host());
        assert!(host["process_exec"]["process"].get("namespace").is_none());
        let plain = line(&EventSelection::default(), &samples::exec());
        assert!(plain["process_exec"]["process"].get("namespace").is_none());
    }

    #[test]
    fn redaction_comes_before_fields_and_covers_arguments_of_hooks() {
        let selection = EventSelection {
            redaction_filters: vec![RedactionFilter { redact: vec!["(till|185)".into()], binary_regex: vec![] }],
            field_filters: vec![EventFieldFilter {
                fields: "process.arguments,args".into(),
                action: FieldAction::Include,
                ..EventFieldFilter::default()
            }],
            ..EventSelection::default()
        };
        let exec = line(&selection, &samples::exec());
        assert_eq!(exec["process_exec"], serde_json::json!({"process": {"arguments": "-s http://*****/"}}));
    }

    #[test]
    fn refusal_names_the_field_of_the_stack() {
        let text = |selection: EventSelection| {
            let problem = compile(&selection).err().unwrap();
            (problem.field().to_owned(), problem.message())
        };
        let pattern = EventFilter { pod_regex: vec!["fine".into(), "not(fine".into()], ..EventFilter::default() };
        let (field, message) = text(EventSelection { allow_list: vec![pattern], ..EventSelection::default() });
        assert_eq!(field, "spec.export.stdout.allowList[0].pod_regex[1]");
        assert!(message.contains("group"), "{message}");
        let unknown = EventFilter { event_set: vec!["PROCESS_EXCE".into()], ..EventFilter::default() };
        let (field, message) = text(EventSelection { deny_list: vec![unknown], ..EventSelection::default() });
        assert_eq!(field, "spec.export.stdout.denyList[0].event_set[0]");
        assert!(message.contains("PROCESS_EXCE") && message.contains("PROCESS_EXEC"), "{message}");
        let fields = EventFieldFilter { fields: "process.bnary".into(), ..EventFieldFilter::default() };
        let (field, _) = text(EventSelection { field_filters: vec![fields], ..EventSelection::default() });
        assert_eq!(field, "spec.export.stdout.fieldFilters[0].fields");
        let redaction = RedactionFilter { redact: vec!["(".into()], binary_regex: vec![] };
        let (field, _) = text(EventSelection { redaction_filters: vec![redaction], ..EventSelection::default() });
        assert_eq!(field, "spec.export.stdout.redactionFilters[0].redact[0]");
    }
}
