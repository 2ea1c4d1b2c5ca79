//! The face that Hubble's clients know: `observer.Observer`, `peer.Peer`, and flows as lines of JSON.

mod convert;
mod filter;
mod mask;
mod observer;
mod peer;
mod reader;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod with_hubble;

pub use convert::response;
pub use filter::Filters;

use std::time::Instant;

use jiff::Timestamp;

use crate::{
    layers::network::{flow::Flow, history::History},
    report::Ledger,
    serve::{
        proto::{
            flow::LostEventSource,
            observer::observer_server::{Observer, ObserverServer},
            peer::peer_server::{Peer, PeerServer},
        },
        protojson,
    },
};

/// What `hubble status` asks `grpc.health.v1` for, before anything else.
pub const HEALTH_SERVICE: &str = "hubble.server.Observer";

/// What the agent says about itself.
#[derive(Clone)]
pub struct About {
    /// Name of the node, as flows carry it.
    pub node: String,
    /// Version of the agent.
    pub version: String,
    /// Where a relay reaches this agent, as `unix:///run/trilobite/agent.sock`.
    pub address: String,
    /// When the agent started.
    pub started: Instant,
}

/// The services, to be added to a router.
pub fn services(
    history: History,
    ledger: Ledger,
    about: About,
) -> (ObserverServer<impl Observer>, PeerServer<impl Peer>) {
    let peer = peer::Face { history: history.clone(), about: about.clone() };
    (ObserverServer::new(observer::Face { history, ledger, about }), PeerServer::new(peer))
}

/// Appends one flow as Hubble's exporter and `hubble observe -o json` write it, and the end of the line.
pub fn append_json_line(flow: &Flow, node: &str, out: &mut Vec<u8>) {
    protojson::append(&response(flow, node), out);
    out.push(b'\n');
}

/// Appends a line that says how many flows the kernel had no room for between two moments, and its end.
pub fn append_lost_line(count: u64, first: Timestamp, last: Timestamp, node: &str, out: &mut Vec<u8>) {
    protojson::append(&convert::lost(LostEventSource::PerfEventRingBuffer, count, first, last, node), out);
    out.push(b'\n');
}
