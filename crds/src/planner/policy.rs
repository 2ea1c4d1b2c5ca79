//! One tracing policy to the tracepoints of a part. Everything that is not carried out exactly is refused by its path.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::{
    refusal::{MOST_LISTED, Refusal},
    tetragon,
};
use crate::{
    node::{ArgType, PodScope, Source, TracepointArg, TracepointHook, TracepointsPart},
    policy::{
        Tracepoint, TracepointAction, TracepointArgSpec, TracepointSelector, TracingPolicyNamespacedSpec,
        TracingPolicySpec,
    },
    selector,
};

/// Most bytes of a message that an event shows, as in Tetragon.
const MAX_MESSAGE_BYTES: usize = 256;

/// Either spec of a tracing policy.
#[derive(Clone, Copy)]
pub(super) struct PolicyView<'a> {
    pod_selector: Option<&'a LabelSelector>,
    tracepoints: &'a [Tracepoint],
    other: &'a BTreeMap<String, Value>,
}

impl<'a> From<&'a TracingPolicySpec> for PolicyView<'a> {
    fn from(spec: &'a TracingPolicySpec) -> Self {
        let TracingPolicySpec { pod_selector, tracepoints, other } = spec;
        Self { pod_selector: pod_selector.as_ref(), tracepoints, other }
    }
}

impl<'a> From<&'a TracingPolicyNamespacedSpec> for PolicyView<'a> {
    fn from(spec: &'a TracingPolicyNamespacedSpec) -> Self {
        let TracingPolicyNamespacedSpec { pod_selector, tracepoints, other } = spec;
        Self { pod_selector: pod_selector.as_ref(), tracepoints, other }
    }
}

/// The part of one policy, or everything that is wrong with it.
pub(super) fn tracepoints(
    policy: PolicyView<'_>,
    source: &Source,
    namespace_selector: Option<&LabelSelector>,
    ring_bytes: u32,
) -> Result<TracepointsPart, Vec<Refusal>> {
    let mut reader = Reader { source, refusals: Vec::new(), unlisted: 0 };
    reader.only_known("spec", policy.other, tetragon::SPEC);
    if let Some(Err(error)) = policy.pod_selector.map(selector::check) {
        reader.refuse(|source| Refusal::bad_selector(source, "spec.podSelector", &error));
    }
    let hooks = policy.tracepoints.iter().enumerate().map(|(index, point)| reader.hook(index, point)).collect();
    if policy.tracepoints.is_empty() && reader.refusals.is_empty() {
        reader.refuse(Refusal::asks_for_nothing);
    }
    if let Some(last) = reader.refusals.last_mut() {
        last.unlisted = reader.unlisted;
        return Err(reader.refusals);
    }
    Ok(TracepointsPart {
        pods: PodScope {
            namespace: source.namespace.clone(),
            namespace_selector: namespace_selector.cloned(),
            pod_selector: policy.pod_selector.cloned(),
            // As in Tetragon: a policy that selects no pods is about the whole node.
            include_host: source.namespace.is_none() && policy.pod_selector.is_none() && namespace_selector.is_none(),
        },
        hooks,
        ring_bytes,
    })
}

struct Reader<'a> {
    source: &'a Source,
    refusals: Vec<Refusal>,
    /// Those that came when enough were listed.
    unlisted: u32,
}

impl Reader<'_> {
    /// Lists a refusal while there is room; what is only counted is not even made.
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
        for (field, name) in [("subsystem", subsystem), ("event", event)] {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                let must = "letters, digits and _";
                self.refuse(|source| Refusal::invalid_value(source, format!("{path}.{field}"), name, must));
            }
        }
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

    /// As in Tetragon: empty is none, one character is an error, and what is too long is cut without a word.
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
        let index_read = u32::try_from(*index).ok();
        if index_read.is_none() {
            self.refuse(|source| Refusal::out_of_bounds(source, &format!("{path}.index"), (*index).into(), 0, 127));
        }
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
            index: index_read?,
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

    /// Refuses every field that is left: as not carried out where Tetragon has it, as unknown where nobody does.
    fn only_known(&mut self, path: &str, other: &BTreeMap<String, Value>, known: &[&str]) {
        for (name, value) in other {
            let field = || format!("{path}.{name}");
            if !known.contains(&name.as_str()) {
                self.refuse(|source| Refusal::unknown_field(source, field()));
            } else if !asks_for_nothing(value) {
                self.refuse(|source| Refusal::not_carried_out(source, field()));
            }
        }
    }

    fn word(&mut self, field: String, word: &str, known: &[&str], carried_out: &str) {
        self.refuse(|source| {
            if known.contains(&word) {
                Refusal::value_not_carried_out(source, field, word, carried_out)
            } else {
                Refusal::invalid_value(source, field, word, carried_out)
            }
        });
    }
}

/// `false`, `null`, zero, an empty text and an empty list are what a field that was not written means to Tetragon, whose API
/// server writes some of them by itself; so they change nothing. An empty object is not: an empty selector selects everything.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Object(_) => false,
    }
}
