//! Many selectors of pods, of which few are tried for a pod: those that need a label which the pod has.

use std::{collections::HashMap, sync::Arc};

use super::pod_selector::{NamespaceSelection, PodSelector};
use crate::connection::{Labels, Pod};

/// Up to here all selectors are tried: an index costs more than it saves.
const UNINDEXED_MAX: usize = 8;
/// A selector that accepts more values of a label is always tried, so that the index stays in proportion to the selectors.
const INDEXED_VALUES_MAX: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct PodIndex {
    selectors: Box<[PodSelector]>,
    /// None where the selectors are few.
    candidates: Option<Box<Candidates>>,
}

/// Positions of selectors, each in one place.
#[derive(Clone, Debug, Default)]
struct Candidates {
    /// Of selectors with a namespace by name.
    in_namespace: HashMap<Arc<str>, ByLabel>,
    anywhere: ByLabel,
    by_namespace_label: ByValue,
}

/// Positions by a label that the pod must have.
#[derive(Clone, Debug, Default)]
struct ByLabel {
    labelled: ByValue,
    rest: Vec<u32>,
}

/// Positions by key and value.
type ByValue = HashMap<Box<str>, HashMap<Box<str>, Vec<u32>>>;

impl PodIndex {
    pub(crate) fn new(selectors: Vec<PodSelector>) -> Self {
        let is_indexed = selectors.len() > UNINDEXED_MAX;
        let candidates = is_indexed.then(|| Box::new(Candidates::new(&selectors)));
        Self { selectors: selectors.into(), candidates }
    }

    pub(crate) fn selects(&self, pod: &Pod<'_>) -> bool {
        self.visit(pod, &mut |_| true)
    }

    /// Calls back with the position of each selector that selects the pod, in any order, until it is answered true. Says
    /// whether it was.
    pub(crate) fn visit(&self, pod: &Pod<'_>, stop_at: &mut dyn FnMut(usize) -> bool) -> bool {
        let mut check = |position: usize| self.selectors[position].selects(pod) && stop_at(position);
        let Some(candidates) = &self.candidates else {
            return (0..self.selectors.len()).any(check);
        };
        let mut check_all = |positions: &[u32]| positions.iter().any(|position| check(*position as usize));
        candidates.in_namespace.get(pod.namespace).is_some_and(|known| known.visit(pod.labels, &mut check_all))
            || candidates.anywhere.visit(pod.labels, &mut check_all)
            || visit_values(&candidates.by_namespace_label, pod.namespace_labels, &mut check_all)
    }
}

impl Candidates {
    fn new(selectors: &[PodSelector]) -> Self {
        let mut candidates = Self::default();
        for (position, selector) in (0u32..).zip(selectors) {
            let by_label = match &selector.namespaces {
                NamespaceSelection::Named(name) => candidates.in_namespace.entry(Arc::clone(name)).or_default(),
                NamespaceSelection::Labelled(_) => &mut candidates.anywhere,
            };
            let of_namespace = match &selector.namespaces {
                NamespaceSelection::Labelled(namespaces) => few(namespaces.needed_values()),
                NamespaceSelection::Named(_) => None,
            };
            match (few(selector.pods.needed_values()), of_namespace) {
                (Some(needed), _) => insert(&mut by_label.labelled, needed, position),
                (None, Some(needed)) => insert(&mut candidates.by_namespace_label, needed, position),
                (None, None) => by_label.rest.push(position),
            }
        }
        candidates
    }
}

impl ByLabel {
    fn visit(&self, labels: &Labels, check_all: &mut dyn FnMut(&[u32]) -> bool) -> bool {
        check_all(&self.rest) || visit_values(&self.labelled, labels, check_all)
    }
}

fn visit_values(index: &ByValue, labels: &Labels, check_all: &mut dyn FnMut(&[u32]) -> bool) -> bool {
    !index.is_empty()
        && labels.iter().any(|(key, value)| {
            index
                .get(key.as_str())
                .and_then(|values| values.get(value.as_str()))
                .is_some_and(|positions| check_all(positions))
        })
}

fn few<'a>(needed: Option<(&'a str, &'a [Box<str>])>) -> Option<(&'a str, &'a [Box<str>])> {
    needed.filter(|(_, values)| values.len() <= INDEXED_VALUES_MAX)
}

fn insert(index: &mut ByValue, (key, values): (&str, &[Box<str>]), position: u32) {
    let by_value = index.entry(key.into()).or_default();
    for value in values {
        by_value.entry(value.clone()).or_default().push(position);
    }
}
