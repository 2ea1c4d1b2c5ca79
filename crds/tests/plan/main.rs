//! The planner, as text: each fixture is a file of resources, each golden file is the plan for it.
//! `UPDATE_GOLDEN=1` rewrites the golden files.

#![allow(clippy::unwrap_used)]

mod files;
mod golden;
mod limits;
mod samples;
mod sessions;

use jiff::Timestamp;
use trilobite_crds::{Resource, parse_documents};

/// The current time in every test.
fn now() -> Timestamp {
    "2026-11-23T18:00:00Z".parse().unwrap()
}

fn resources(yaml: &str) -> Vec<Resource> {
    parse_documents(yaml, "fixture.yaml")
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}
