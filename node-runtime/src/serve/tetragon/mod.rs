//! The API of Tetragon's clients: `tetragon.FineGuidanceSensors`, its events, their JSON and their compact lines.

pub mod compact;
mod credentials;
pub mod encoder;
mod filter;
mod go_pattern;
mod health_check;
mod service;
mod signal;

#[cfg(test)]
mod go_pattern_cases;
#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
pub(crate) mod tetra_client_tests;

pub use encoder::EventEncoder;
pub use filter::EventFilters;
pub use service::{AgentInfo, service};

use trilobite_api::{json, tetragon::GetEventsResponse};

/// Appends an event as a line of Tetragon's exporter.
pub fn append_json_line(event: &GetEventsResponse, out: &mut Vec<u8>) {
    json::append(event, out);
    out.push(b'\n');
}
