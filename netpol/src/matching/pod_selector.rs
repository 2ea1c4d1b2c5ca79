//! Pods selected by their namespace and their labels.

use std::sync::Arc;

use super::selector::Selector;
use crate::connection::Pod;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodSelector {
    pub(crate) namespaces: NamespaceSelection,
    pub(crate) pods: Selector,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamespaceSelection {
    Named(Arc<str>),
    Labelled(Selector),
}

impl PodSelector {
    pub(crate) fn selects(&self, pod: &Pod<'_>) -> bool {
        let is_in_namespace = match &self.namespaces {
            NamespaceSelection::Named(name) => **name == *pod.namespace,
            NamespaceSelection::Labelled(selector) => selector.selects(pod.namespace_labels),
        };
        is_in_namespace && self.pods.selects(pod.labels)
    }
}
