//! `peer.Peer`: announces the agent itself as the only peer, and to an unmodified hubble-relay at the port the agents of all nodes.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
};

use futures::{Stream, StreamExt, stream};
use kube::Client;
use tonic::{Request, Response, Status};
use trilobite_api::peer::{self as api, peer_server::Peer};

use super::{cluster_peers::cluster_peers, node_info::NodeInfo};
use crate::{layers::network::history::FlowBuffer, serve::port_client::PortClient};

pub(super) struct PeerService {
    pub(super) history: FlowBuffer,
    pub(super) info: NodeInfo,
    /// Empty without an API server.
    pub(super) client: Arc<OnceLock<Client>>,
}

#[tonic::async_trait]
impl Peer for PeerService {
    type NotifyStream = Pin<Box<dyn Stream<Item = Result<api::ChangeNotification, Status>> + Send>>;

    async fn notify(&self, request: Request<api::NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let history = self.history.clone();
        if let (Some(PortClient::HubbleRelay { port }), Some(client)) = (request.extensions().get(), self.client.get())
        {
            let peers = cluster_peers(client, *port).take_until(async move { history.closed().await });
            return Ok(Response::new(Box::pin(peers)));
        }
        let here = api::ChangeNotification {
            name: self.info.node.clone(),
            address: self.info.address.clone(),
            r#type: api::ChangeNotificationType::PeerAdded.into(),
            tls: None,
        };
        // A relay treats the end of the stream as the end of the service, so the stream stays open without further
        // messages.
        let ended = stream::once(async move { history.closed().await }).filter_map(async |()| None);
        Ok(Response::new(Box::pin(stream::once(async { Ok(here) }).chain(ended))))
    }
}
