//! What a request asks for: its query string, with label and field selectors. Pure.

mod field_selector;
mod label_selector;
mod parameters;

pub use field_selector::{FieldRequirement, FieldSelector};
pub use label_selector::{LabelRequirement, LabelSelector, LabelTest};
pub use parameters::{IncludeObject, MAX_LIMIT, Parameters, ResourceVersion};

/// A query that cannot be answered: the parameter and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {problem}")]
pub struct InvalidQuery {
    pub parameter: &'static str,
    pub problem: String,
}

impl InvalidQuery {
    pub(crate) fn new(parameter: &'static str, problem: impl Into<String>) -> Self {
        Self { parameter, problem: problem.into() }
    }
}
