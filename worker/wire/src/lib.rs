//! What the agent and its worker share: their messages, the socket between them, and a view of a ring buffer for a process
//! without privilege.

#![warn(missing_docs)]

pub mod channel;
pub mod inspection;
pub mod names;
mod process_image;
pub mod protocol;
pub mod requests;
pub mod ring_view;
mod row_packing;

pub use inspection::{InspectedFunction, Inspection, TlsFunction, TlsImplementation};
pub use process_image::ProcessImage;
pub use protocol::{FileKind, Mapping, Message, MessageError, NewFile, SampleCounts};
pub use requests::{ConnectionVerdict, RequestCounts, RequestRow, RequestSettings, RowQuery, VerdictKind};
pub use ring_view::RingView;
pub use row_packing::{TRUNCATED, pack_rows};
