//! The pure paths that every record takes through the agent, one at a time: of a process event and of a flow.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

mod events;
mod flows;

use criterion::{criterion_group, criterion_main};

criterion_group!(hot_paths, events::measure, flows::measure);
criterion_main!(hot_paths);
