//! The API of Tetragon's clients: `tetragon.FineGuidanceSensors`, its events, their JSON and their compact lines.

mod aggregate;
mod argument;
pub mod compact;
mod credentials;
pub mod encoder;
mod event_stream;
mod filter;
mod go_pattern;
mod health_check;
mod info;
mod parts;
mod policies;
mod service;
mod signal;
mod visible;

#[cfg(test)]
mod go_pattern_cases;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod published_api_tests;
#[cfg(test)]
mod reply_fields_tests;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
pub(crate) mod tetra_client_tests;

pub use encoder::EventEncoder;
pub(crate) use event_stream::includes_ancestors;
pub(crate) use filter::EVENT_TYPES;
pub use filter::EventFilters;
pub(crate) use go_pattern::compile as regular_expression;
pub use info::AgentInfo;
pub(crate) use parts::{hook_arguments, processes};
pub use service::service;

use trilobite_api::{json, tetragon::GetEventsResponse};

/// Appends an event as a line of Tetragon's exporter.
pub fn append_json_line(event: &GetEventsResponse, out: &mut Vec<u8>) {
    json::append(event, out);
    out.push(b'\n');
}
