//! Output formats, one file each. All pure.

pub(crate) mod clock;
pub(crate) mod event_line;
pub(crate) mod flow_line;
pub(crate) mod paint;
pub(crate) mod stderr;
pub(crate) mod table;
