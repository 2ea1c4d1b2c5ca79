//! The state of the stack for people, from the objects of the API server. Pure: no client, no clock.

mod build;
#[cfg(test)]
mod golden;
mod messages;
mod render;

pub(crate) use build::{ClusterObjects, Report};
pub(crate) use messages::next;
pub(crate) use render::render;
