//! `trilobite.requests.v1.Requests`: the rows that the workers of this node hold, with the names of their pods.

mod address_book;
mod latest;
mod lines;
mod request_message;
mod request_stream;
mod selection;
mod service;
#[cfg(test)]
mod tests;

pub use lines::write_lines;
pub use request_message::{RequestNames, request_of_recording};
pub use service::service;
