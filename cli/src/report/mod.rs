//! The state of everything, from what the API server holds to what a person reads. Pure: no client, no clock.

mod build;
mod render;
mod words;

pub(crate) use build::{Found, Report};
pub(crate) use render::render;
pub(crate) use words::next;
