//! Filters by labels.

use trilobite_api::label_selector::LabelSelector;

use super::predicate::BuildResult;
use crate::layers::network::{endpoint::Endpoint, flow::Flow};

/// One selector of the list must match.
pub(super) fn labels(wanted: &[String], of: fn(&Flow) -> &Endpoint) -> BuildResult {
    let selectors = wanted.iter().map(|text| LabelSelector::parse(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |flow| selectors.iter().any(|selector| selector.matches(&of(flow).labels))))
}
