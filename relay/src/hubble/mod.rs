//! Hubble's API over all nodes, for `hubble`, hubble-ui and all that reads hubble-relay: flows merged by time, and the status of
//! nodes. A port-forward reads everything; others read what the API server says that they may.

mod call;
mod cutoff;
mod flow_queue;
mod follow;
mod grant;
mod listener;
mod merge;
mod newest_times;
mod node_status;
mod observer;
mod open_nodes;
mod past;
mod status;

pub use grant::HubbleAccess;
pub use listener::{
    HubbleServer, accept_hubble_loopback, accept_hubble_tls, hubble_server_config, serve_hubble_loopback,
    serve_hubble_tls,
};
