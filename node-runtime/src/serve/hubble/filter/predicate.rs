//! Predicates on flows, of which filters are made.

use crate::layers::network::{endpoint::Endpoint, flow::Flow};

/// Whether one field of a filter holds.
pub(super) type Predicate = Box<dyn Fn(&Flow) -> bool + Send + Sync>;
/// A predicate, or what is wrong with the field's value.
pub(super) type BuildResult = Result<Predicate, String>;

pub(super) fn constant(answer: bool) -> Predicate {
    Box::new(move |_| answer)
}

pub(super) fn source(flow: &Flow) -> &Endpoint {
    &flow.source_endpoint
}

pub(super) fn destination(flow: &Flow) -> &Endpoint {
    &flow.destination_endpoint
}
