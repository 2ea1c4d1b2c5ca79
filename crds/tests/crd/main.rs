//! The CRDs: what is generated, what its rules accept, and what the repository shows of them.

#![allow(clippy::unwrap_used)]

mod generated;
mod lint;
mod reasons;
mod rules;

use std::path::PathBuf;

/// A path from the top of the repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
