//! What the agent and its worker share: their messages, the socket between them, and a view of a ring buffer for a process
//! without privilege.

#![warn(missing_docs)]

pub mod channel;
pub mod dns;
pub mod inspection;
pub mod names;
mod process_image;
pub mod protocol;
pub mod recording;
pub mod requests;
pub mod ring_view;
mod row_packing;

pub use dns::{DnsAnswered, DnsCounts, DnsEvent, DnsSeen};
pub use inspection::{InspectedFunction, Inspection, TlsFunction, TlsImplementation};
pub use process_image::ProcessImage;
pub use protocol::{FileKind, Mapping, Message, MessageError, NewFile, SampleCounts};
pub use recording::{CallCount, Recorded, RecordingHeader, RecordingSettings, Replayed};
pub use requests::{RequestCounts, RequestRow, RequestSettings, RowQuery, StreamVerdict, VerdictKind};
pub use ring_view::RingView;
pub use row_packing::{TRUNCATED, pack_rows};

/// A worker that samples, captures or keeps rows reports its counts at least so often, so that the agent notices one that hangs.
pub const REPORT_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);
