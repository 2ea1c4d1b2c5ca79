//! The face that Tetragon's clients know: `tetragon.FineGuidanceSensors`, its events, its JSON and its compact lines.

pub mod compact;
pub mod convert;
mod credentials;
mod fields;
mod filter;
mod service;
mod signal;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod with_tetra;

pub use convert::Scene;
pub use service::{About, service};

use super::{proto::tetragon::GetEventsResponse, protojson};

/// Appends one event as Tetragon's exporters write it: one JSON object, and the end of the line.
pub fn append_json_line(event: &GetEventsResponse, out: &mut Vec<u8>) {
    protojson::append(event, out);
    out.push(b'\n');
}
