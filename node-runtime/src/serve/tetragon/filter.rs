//! Which events a reader of GetEvents wants. Everything that a filter sets must hold, one member of a list is enough; an
//! event passes when one filter of the allow list holds and none of the deny list. A field that is not carried out is
//! refused by name, as is a pattern that is not one.

use regex::bytes::{Regex, RegexBuilder};
use tonic::Status;

use super::convert;
use crate::{
    identity::Located,
    layers::security::{SecurityEvent, SecurityEventKind},
    serve::proto::tetragon::{self as api, EventType},
};

/// Both lists of a request.
pub(super) struct Filters {
    allow: Vec<Filter>,
    deny: Vec<Filter>,
}

#[derive(Default)]
struct Filter {
    event_set: Option<Vec<i32>>,
    pids: Option<Vec<u32>>,
    namespaces: Option<Vec<String>>,
    policies: Option<Vec<String>>,
    patterns: Vec<(Subject, Vec<Regex>)>,
}

/// What a list of patterns is held against.
#[derive(Clone, Copy)]
enum Subject {
    Binary,
    Arguments,
    ParentBinary,
    ParentArguments,
    Pod,
    Namespace,
    ContainerName,
    ContainerId,
}

impl Filters {
    pub(super) fn new(allow: Vec<api::Filter>, deny: Vec<api::Filter>) -> Result<Self, Box<Status>> {
        let list = |filters: Vec<api::Filter>, name: &str| {
            let numbered = filters.into_iter().enumerate();
            numbered.map(|(at, filter)| Filter::new(filter, &format!("{name}[{at}]"))).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { allow: list(allow, "allow_list")?, deny: list(deny, "deny_list")? })
    }

    pub(super) fn pass(&self, event: &SecurityEvent) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|filter| filter.holds(event)))
            && !self.deny.iter().any(|filter| filter.holds(event))
    }
}

impl Filter {
    fn new(from: api::Filter, path: &str) -> Result<Self, Box<Status>> {
        let api::Filter {
            binary_regex,
            namespace,
            health_check,
            pid,
            pid_set,
            event_set,
            pod_regex,
            arguments_regex,
            labels,
            policy_names,
            capabilities,
            parent_binary_regex,
            cel_expression,
            parent_arguments_regex,
            container_id,
            in_init_tree,
            ancestor_binary_regex,
            container_name_regex,
            namespace_regex,
        } = from;
        let refused = [
            ("health_check", health_check.is_some()),
            ("pid_set", !pid_set.is_empty()),
            ("labels", !labels.is_empty()),
            ("capabilities", capabilities.is_some()),
            ("cel_expression", !cel_expression.is_empty()),
            ("in_init_tree", in_init_tree.is_some()),
            ("ancestor_binary_regex", !ancestor_binary_regex.is_empty()),
        ];
        if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
            return Err(Box::new(Status::invalid_argument(format!("{path}.{field}: this filter is not supported"))));
        }
        let mut patterns = Vec::new();
        for (subject, field, list) in [
            (Subject::Binary, "binary_regex", binary_regex),
            (Subject::Arguments, "arguments_regex", arguments_regex),
            (Subject::ParentBinary, "parent_binary_regex", parent_binary_regex),
            (Subject::ParentArguments, "parent_arguments_regex", parent_arguments_regex),
            (Subject::Pod, "pod_regex", pod_regex),
            (Subject::Namespace, "namespace_regex", namespace_regex),
            (Subject::ContainerName, "container_name_regex", container_name_regex),
            (Subject::ContainerId, "container_id", container_id),
        ] {
            if !list.is_empty() {
                patterns.push((subject, compile(&list, &format!("{path}.{field}"))?));
            }
        }
        Ok(Self {
            event_set: some(event_set),
            pids: some(pid),
            namespaces: some(namespace),
            policies: some(policy_names),
            patterns,
        })
    }

    fn holds(&self, event: &SecurityEvent) -> bool {
        let Self { event_set, pids, namespaces, policies, patterns } = self;
        let process = &event.process;
        let namespace = process.pod.as_ref().map_or("", |place| &place.pod.namespace);
        event_set.as_ref().is_none_or(|set| set.contains(&kind(event).into()))
            && pids.as_ref().is_none_or(|pids| pids.contains(&process.process.key.pid))
            && namespaces.as_ref().is_none_or(|wanted| wanted.iter().any(|one| one == namespace))
            && policies.as_ref().is_none_or(|wanted| wanted.iter().any(|one| policy(event) == Some(one)))
            && patterns.iter().all(|(subject, list)| {
                let text = subject.of(event);
                text.is_some_and(|text| list.iter().any(|pattern| pattern.is_match(text.as_bytes())))
            })
    }
}

impl Subject {
    /// The text, or nothing where the event has no such thing: then no pattern matches, not even the empty one.
    fn of(self, event: &SecurityEvent) -> Option<&str> {
        let Located { process, pod } = &event.process;
        let parent = event.parent.as_ref().map(|parent| &parent.process);
        match self {
            Self::Binary => Some(&process.binary),
            Self::Arguments => Some(&process.arguments),
            Self::ParentBinary => parent.map(|parent| parent.binary.as_str()),
            Self::ParentArguments => parent.map(|parent| parent.arguments.as_str()),
            Self::Pod => pod.as_ref().map(|place| place.pod.name.as_str()),
            Self::Namespace => pod.as_ref().map(|place| place.pod.namespace.as_str()),
            Self::ContainerName => pod.as_ref()?.container.as_ref().map(|container| container.name.as_str()),
            Self::ContainerId => Some(pod.as_deref().map_or("", convert::docker)),
        }
    }
}

/// The event's type, as filters name it.
pub(super) fn kind(event: &SecurityEvent) -> EventType {
    match event.kind {
        SecurityEventKind::Exec => EventType::ProcessExec,
        SecurityEventKind::Exit { .. } => EventType::ProcessExit,
        SecurityEventKind::Tracepoint { .. } => EventType::ProcessTracepoint,
    }
}

fn policy(event: &SecurityEvent) -> Option<&str> {
    match &event.kind {
        SecurityEventKind::Tracepoint { policy, .. } => Some(policy),
        SecurityEventKind::Exec | SecurityEventKind::Exit { .. } => None,
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Patterns in Go's sense: not anchored, classes such as `\w` in ASCII, time linear in the text.
fn compile(list: &[String], path: &str) -> Result<Vec<Regex>, Box<Status>> {
    let each = list.iter().enumerate().map(|(at, pattern)| {
        RegexBuilder::new(pattern).unicode(false).size_limit(1 << 20).build().map_err(|error| {
            let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
            Box::new(Status::invalid_argument(format!("{path}[{at}]: {reason}")))
        })
    });
    each.collect()
}
