//! The state of the stack for people, from the objects of the API server. Pure: no client, no clock.

mod build;
mod finding;
#[cfg(test)]
mod golden;
mod messages;
mod nodes;
mod operator;
mod pod_state;
mod render;
mod resources;
#[cfg(test)]
mod states;

pub(crate) use build::{ClusterObjects, Report, Unread};
pub(crate) use messages::next;
pub(crate) use render::{ReportStyle, render};
