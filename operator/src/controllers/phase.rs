//! Marker types: whether built objects have been applied. Only `apply` makes a value of the second kind.

/// Built, not applied.
#[derive(Debug)]
pub(super) enum Prepared {}
/// Exists in the API server.
#[derive(Debug)]
pub(super) enum Applied {}
