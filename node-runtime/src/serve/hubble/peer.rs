//! `peer.Peer`: announces the agent itself as the only peer.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};
use trilobite_api::peer::{self as api, peer_server::Peer};

use super::node_info::NodeInfo;
use crate::layers::network::history::FlowBuffer;

pub(super) struct PeerService {
    pub(super) history: FlowBuffer,
    pub(super) info: NodeInfo,
}

#[tonic::async_trait]
impl Peer for PeerService {
    type NotifyStream = Pin<Box<dyn Stream<Item = Result<api::ChangeNotification, Status>> + Send>>;

    async fn notify(&self, _: Request<api::NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let here = api::ChangeNotification {
            name: self.info.node.clone(),
            address: self.info.address.clone(),
            r#type: api::ChangeNotificationType::PeerAdded.into(),
            tls: None,
        };
        // A relay treats the end of the stream as the end of the service, so the stream stays open without further
        // messages.
        let history = self.history.clone();
        let ended = stream::once(async move { history.closed().await }).filter_map(async |()| None);
        Ok(Response::new(Box::pin(stream::once(async { Ok(here) }).chain(ended))))
    }
}
