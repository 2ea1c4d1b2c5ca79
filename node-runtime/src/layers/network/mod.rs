//! Who talks to whom: the TCP, UDP and ICMP flows of selected pods.

pub mod connection;
pub mod decode;
mod deliver;
pub mod directory;
pub mod endpoint;
pub mod enrich;
pub mod flow;
pub mod history;
pub mod hubble_metrics;
pub mod icmp_error;
mod layer;
mod metrics;
pub mod netlink;
pub mod sources;
pub mod tcp_flags;
pub mod transport;
pub mod verdict;
mod waiting;

#[cfg(test)]
pub(crate) use deliver::stream::StreamSender;
pub use deliver::{
    stream::{CaptureEvent, CaptureStream, FlowMessage},
    subscriber::SubscriberSpec,
};
pub use layer::{HttpInbox, Network};
pub use sources::http::HttpMessage;
