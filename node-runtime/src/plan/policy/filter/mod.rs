//! The filters of one selector -> predicates, one for each dimension. Several alternatives where a filter has an "or" across
//! dimensions: each is a bit of its own.

mod condition;
mod process;
mod value;

use trilobite_crds::policy::Selector;

use self::condition::Conditions;
pub(super) use self::condition::{FilterContext, FilterError};
use super::{binaries::BinaryTables, predicate::Predicate};

/// The most alternatives of one selector: they share a word with those of the policy's other version.
const MAX_ALTERNATIVES: usize = 32;

/// All alternatives of the entry's filters, or with `at_return` those of entry and return together. Conditions that processes
/// inherit take a bit of `binaries`.
pub(super) fn predicates(
    selector: &Selector,
    at_return: bool,
    context: &FilterContext<'_>,
    binaries: &mut BinaryTables,
) -> Result<Vec<Vec<Predicate>>, FilterError> {
    let mut common = Conditions::default();
    value::add_entry_filters(&mut common, selector, context)?;
    if at_return {
        value::add_return_filters(&mut common, selector, context)?;
    }
    process::add_filters(&mut common, selector, context, binaries)?;
    let mut alternatives = vec![common];
    for choices in process::binary_choices(selector, context, binaries)? {
        if alternatives.len() * choices.len() > MAX_ALTERNATIVES {
            return Err(FilterError {
                field: "matchBinaries".into(),
                detail: "too many filters on the executed file; join them in one".into(),
            });
        }
        let each = alternatives.iter().flat_map(|alternative| {
            choices.iter().map(|(dimension, term)| {
                let mut joined = alternative.clone();
                joined.add(*dimension, term.clone());
                joined
            })
        });
        alternatives = each.collect();
    }
    Ok(alternatives.into_iter().map(Conditions::join).collect())
}
