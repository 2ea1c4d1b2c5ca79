//! Output formats, one file each. All pure.

pub(crate) mod event_line;
pub(crate) mod stderr;
pub(crate) mod table;

pub(crate) use trilobite_api::lines::{clock, flow as flow_line, paint};
