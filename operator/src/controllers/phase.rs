//! Marker types: whether built objects have been applied. Only `apply` returns objects that are marked `Applied`.

/// Built, not applied.
#[derive(Debug)]
pub(super) enum Prepared {}
/// Exists in the API server.
#[derive(Debug)]
pub(super) enum Applied {}
