//! What the agent and its worker share: their messages, the socket between them, and a view of a ring buffer for a process
//! without privilege.

#![warn(missing_docs)]

pub mod channel;
pub mod names;
pub mod protocol;
pub mod ring_view;

pub use protocol::{FileKind, Mapping, Message, MessageError, NewFile, ProcessImage, SampleCounts};
pub use ring_view::RingView;
