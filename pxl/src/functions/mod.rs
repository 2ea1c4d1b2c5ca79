//! The functions that scripts call, as data.

mod aggregates;
mod arithmetic;
mod function;
mod generators;
mod metadata;
mod texts;

pub use function::{ComputedAt, Function, FunctionKind, Overload, SemanticRule};
pub(crate) use generators::find_generator;
pub use generators::{GENERATORS, Generator};

/// Every function of rows and of groups.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    let groups = [arithmetic::FUNCTIONS, texts::FUNCTIONS, metadata::FUNCTIONS, aggregates::FUNCTIONS];
    groups.into_iter().flatten()
}

/// The function of this name, without `px.`.
pub fn find_function(name: &str) -> Option<&'static Function> {
    functions().find(|function| function.name == name)
}

#[cfg(test)]
mod tests;
