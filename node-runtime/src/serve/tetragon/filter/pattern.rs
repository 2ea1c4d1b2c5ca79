//! Filters by regular expressions, each for one text of an event.

use regex::bytes::Regex;
use trilobite_api::tetragon as api;

use super::refusal::{Refusal, parse_each};
use crate::{
    identity::Located,
    layers::security::SecurityEvent,
    serve::tetragon::{encoder, go_pattern},
};

/// One pattern of the list must match the text.
pub(super) struct PatternField {
    text: Text,
    patterns: Vec<Regex>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Binary,
    Arguments,
    ParentBinary,
    ParentArguments,
    /// Of any ancestor beyond the parent.
    AncestorBinary,
    Pod,
    Namespace,
    ContainerName,
    ContainerId,
}

impl PatternField {
    /// The lists of patterns that a filter has.
    pub(super) fn all_of(filter: &api::Filter, path: &str) -> Result<Vec<Self>, Refusal> {
        let lists = [
            (Text::Binary, "binary_regex", &filter.binary_regex),
            (Text::Arguments, "arguments_regex", &filter.arguments_regex),
            (Text::ParentBinary, "parent_binary_regex", &filter.parent_binary_regex),
            (Text::ParentArguments, "parent_arguments_regex", &filter.parent_arguments_regex),
            (Text::AncestorBinary, "ancestor_binary_regex", &filter.ancestor_binary_regex),
            (Text::Pod, "pod_regex", &filter.pod_regex),
            (Text::Namespace, "namespace_regex", &filter.namespace_regex),
            (Text::ContainerName, "container_name_regex", &filter.container_name_regex),
            (Text::ContainerId, "container_id", &filter.container_id),
        ];
        let used = lists.into_iter().filter(|(.., list)| !list.is_empty());
        let fields = used.map(|(text, name, list)| {
            let patterns = parse_each(list, &format!("{path}.{name}"), go_pattern::compile)?;
            Ok(Self { text, patterns })
        });
        fields.collect()
    }

    pub(super) fn is_about_ancestors(&self) -> bool {
        self.text == Text::AncestorBinary
    }

    pub(super) fn matches(&self, event: &SecurityEvent) -> bool {
        let is_match = |text: &str| self.patterns.iter().any(|pattern| pattern.is_match(text.as_bytes()));
        if self.text == Text::AncestorBinary {
            return event.ancestors.iter().any(|ancestor| is_match(&ancestor.process.binary));
        }
        self.text.read(event).is_some_and(is_match)
    }
}

impl Text {
    /// None where the event has no such field: then no pattern matches, not even the empty one.
    fn read(self, event: &SecurityEvent) -> Option<&str> {
        let Located { process, pod } = &event.process;
        let parent = event.parent.as_ref().map(|parent| &parent.process);
        let named = pod.as_ref().filter(|place| !place.pod.name.is_empty());
        match self {
            Self::Binary => Some(&process.binary),
            Self::Arguments => Some(&process.arguments),
            Self::ParentBinary => parent.map(|parent| parent.binary.as_str()),
            Self::ParentArguments => parent.map(|parent| parent.arguments.as_str()),
            Self::AncestorBinary => None,
            Self::Pod => named.map(|place| place.pod.name.as_str()),
            Self::Namespace => named.map(|place| place.pod.namespace.as_str()),
            Self::ContainerName => pod.as_ref()?.container.as_ref().map(|container| container.name.as_str()),
            Self::ContainerId => Some(pod.as_deref().map_or("", encoder::docker)),
        }
    }
}
