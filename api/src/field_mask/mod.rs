//! Field masks: which fields of a message a client asks for. They work on encoded messages, and a path that names no
//! field is refused.

mod events;
mod flows;
mod mask;

pub use events::EventFieldFilters;
pub use flows::FlowFieldMask;
pub use mask::InvalidMask;
