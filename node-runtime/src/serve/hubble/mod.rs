//! The API of Hubble's clients: `observer.Observer`, `peer.Peer`, and flows as JSON lines.

mod cluster_peers;
mod extensions;
mod filter;
mod flow_message;
mod flow_stream;
mod hexadecimal;
mod l7_message;
mod node_info;
mod observer;
mod peer;
mod visible;

#[cfg(test)]
mod flow_fields_tests;
#[cfg(test)]
mod hubble_client_tests;
#[cfg(test)]
mod metrics_reference;
#[cfg(test)]
mod tests;

pub use filter::FlowFilters;
pub use flow_message::response;
pub use node_info::NodeInfo;

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use kube::Client;
use trilobite_api::{
    flow::LostEventSource,
    json,
    observer::observer_server::{Observer, ObserverServer},
    peer::peer_server::{Peer, PeerServer},
};

use crate::{
    layers::network::{flow::Flow, history::FlowBuffer},
    loss::Ledger,
    serve::read_rows::ReadRows,
};

/// `hubble status` asks `grpc.health.v1` for this name before anything else.
pub const HEALTH_SERVICE: &str = "hubble.server.Observer";

pub fn services(
    history: FlowBuffer,
    ledger: Ledger,
    info: NodeInfo,
    rows: ReadRows,
    client: Arc<OnceLock<Client>>,
) -> (ObserverServer<impl Observer>, PeerServer<impl Peer>) {
    let peer = peer::PeerService { history: history.clone(), info: info.clone(), client };
    (ObserverServer::new(observer::ObserverService { history, ledger, info, rows }), PeerServer::new(peer))
}

/// Appends a flow as a line of Hubble's exporter and of `hubble observe -o json`.
pub fn append_json_line(flow: &Flow, node: &str, out: &mut Vec<u8>) {
    json::append(&response(flow, node), out);
    out.push(b'\n');
}

/// Appends a line with the number of flows that were lost between two moments.
pub fn append_lost_line(
    source: LostEventSource,
    count: u64,
    (first, last): (Timestamp, Timestamp),
    node: &str,
    out: &mut Vec<u8>,
) {
    json::append(&flow_message::lost(source, count, first, last, node), out);
    out.push(b'\n');
}
