//! The planner, as text: each world is a file of resources, each golden file is what a node is told for it.
//! `UPDATE_GOLDEN=1` rewrites the golden files.

#![allow(clippy::unwrap_used)]

mod files;
mod golden;
mod limits;
mod sessions;

use jiff::Timestamp;
use trilobite_crds::{Resource, parse_documents};

/// The time at which every test happens.
fn now() -> Timestamp {
    "2026-11-23T18:00:00Z".parse().unwrap()
}

fn world(yaml: &str) -> Vec<Resource> {
    parse_documents(yaml, "world.yaml")
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}
