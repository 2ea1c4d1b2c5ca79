//! How things look: one file per form. All pure.

pub(crate) mod clock;
pub(crate) mod event_line;
pub(crate) mod flow_line;
pub(crate) mod json;
pub(crate) mod paint;
pub(crate) mod table;

pub(crate) use json::JsonError;
