//! Turns one tracing policy into the tracepoints of a part. Everything that is not supported exactly is refused by its path.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::{
    refusal::{MOST_LISTED, Refusal},
    tetragon,
};
use crate::{
    bounds,
    node::{ArgType, PodScope, Source, TracepointArg, TracepointHook, TracepointsPart},
    policy::{Tracepoint, TracepointAction, TracepointArgSpec, TracepointSelector, TracingPolicySpec},
    selector,
};

/// Most bytes of a message that an event shows, as in Tetragon.
const MAX_MESSAGE_BYTES: usize = 256;

/// The part of one policy, or its refusals.
pub(super) fn tracepoints(
    policy: &TracingPolicySpec,
    source: &Source,
    namespace_selector: Option<&LabelSelector>,
    ring_bytes: u32,
) -> Result<TracepointsPart, Vec<Refusal>> {
    let mut reader = Reader { source, refusals: Vec::new(), unlisted: 0 };
    reader.only_known("spec", &policy.other, tetragon::SPEC);
    for violation in bounds::violations(policy, "spec") {
        reader.refuse(|source| Refusal::violation(source, &violation));
    }
    if let Some(Err(error)) = policy.pod_selector.as_ref().map(selector::check) {
        reader.refuse(|source| Refusal::bad_selector(source, "spec.podSelector", &error));
    }
    let hooks = policy.tracepoints.iter().enumerate().map(|(index, point)| reader.hook(index, point)).collect();
    if policy.tracepoints.is_empty() && reader.refusals.is_empty() {
        reader.refuse(Refusal::nothing_requested);
    }
    if let Some(last) = reader.refusals.last_mut() {
        last.unlisted = reader.unlisted;
        return Err(reader.refusals);
    }
    Ok(TracepointsPart {
        pods: PodScope {
            namespace: source.namespace.clone(),
            namespace_selector: namespace_selector.cloned(),
            pod_selector: policy.pod_selector.clone(),
            // As in Tetragon: a policy without a selector is about the whole node.
            include_host: source.namespace.is_none() && policy.pod_selector.is_none() && namespace_selector.is_none(),
        },
        hooks,
        ring_bytes,
    })
}

struct Reader<'a> {
    source: &'a Source,
    refusals: Vec<Refusal>,
    /// Refusals beyond those listed.
    unlisted: u32,
}

impl Reader<'_> {
    /// Lists a refusal up to the limit, and counts the others without making them.
    fn refuse(&mut self, make: impl FnOnce(&Source) -> Refusal) {
        if self.refusals.len() < MOST_LISTED {
            self.refusals.push(make(self.source));
        } else {
            self.unlisted += 1;
        }
    }

    fn hook(&mut self, index: usize, point: &Tracepoint) -> TracepointHook {
        let Tracepoint { subsystem, event, raw, message, args, selectors, tags, other } = point;
        let path = format!("spec.tracepoints[{index}]");
        self.only_known(&path, other, &[]);
        for (index, selector) in selectors.iter().enumerate() {
            self.selector(&format!("{path}.selectors[{index}]"), selector);
        }
        let message = self.message(&path, message.as_deref());
        let args =
            args.iter().enumerate().filter_map(|(at, arg)| self.arg(&format!("{path}.args[{at}]"), arg)).collect();
        TracepointHook {
            field_path: path,
            subsystem: subsystem.clone(),
            event: event.clone(),
            raw: *raw,
            message,
            tags: tags.clone(),
            args,
        }
    }

    /// As in Tetragon: an empty message is none, one character is an error, and a long message is cut silently.
    fn message(&mut self, path: &str, message: Option<&str>) -> Option<String> {
        let message = message.filter(|message| !message.is_empty())?;
        if message.len() == 1 {
            let must = "at least 2 characters, or left out";
            self.refuse(|source| Refusal::invalid_value(source, format!("{path}.message"), message, must));
        }
        let end = (0..=message.len().min(MAX_MESSAGE_BYTES)).rev().find(|end| message.is_char_boundary(*end));
        Some(message[..end.unwrap_or_default()].into())
    }

    fn arg(&mut self, path: &str, arg: &TracepointArgSpec) -> Option<TracepointArg> {
        let TracepointArgSpec { index, r#type, label, other } = arg;
        self.only_known(path, other, tetragon::ARG);
        let type_read = serde_json::from_value::<ArgType>(r#type.as_str().into()).ok();
        if type_read.is_none() {
            self.word(
                format!("{path}.type"),
                r#type,
                tetragon::ARG_TYPES,
                "an integer type, string, syscall64 or auto",
            );
        }
        Some(TracepointArg {
            // The bounds of the spec are checked first.
            index: u32::try_from(*index).ok()?,
            r#type: type_read?,
            label: label.clone().filter(|label| !label.is_empty()),
        })
    }

    fn selector(&mut self, path: &str, selector: &TracepointSelector) {
        let TracepointSelector { match_actions, other } = selector;
        self.only_known(path, other, tetragon::SELECTOR);
        for (index, TracepointAction { action, other }) in match_actions.iter().enumerate() {
            let path = format!("{path}.matchActions[{index}]");
            if action != "Post" {
                self.word(format!("{path}.action"), action, tetragon::ACTIONS, "Post");
            }
            self.only_known(&path, other, tetragon::ACTION);
        }
    }

    /// Refuses every other field: as not supported where Tetragon has it, as unknown otherwise.
    fn only_known(&mut self, path: &str, other: &BTreeMap<String, Value>, known: &[&str]) {
        for (name, value) in other {
            let field = || format!("{path}.{name}");
            if !known.contains(&name.as_str()) {
                self.refuse(|source| Refusal::unknown_field(source, field()));
            } else if !is_default(value) {
                self.refuse(|source| Refusal::unsupported_field(source, field()));
            }
        }
    }

    fn word(&mut self, field: String, word: &str, known: &[&str], supported: &str) {
        self.refuse(|source| {
            if known.contains(&word) {
                Refusal::unsupported_value(source, field, word, supported)
            } else {
                Refusal::invalid_value(source, field, word, supported)
            }
        });
    }
}

/// Whether a value means the same as a missing field. Tetragon's API server adds some fields with `false`, `null`, zero, an
/// empty string or an empty list. An empty object is different: an empty selector selects everything.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}
