//! `peer.Peer`: an agent knows of itself, and says so once.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::About;
use crate::{
    layers::network::history::History,
    serve::proto::peer::{self as api, peer_server::Peer},
};

pub(super) struct Face {
    pub(super) history: History,
    pub(super) about: About,
}

#[tonic::async_trait]
impl Peer for Face {
    type NotifyStream = Pin<Box<dyn Stream<Item = Result<api::ChangeNotification, Status>> + Send>>;

    async fn notify(&self, _: Request<api::NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let here = api::ChangeNotification {
            name: self.about.node.clone(),
            address: self.about.address.clone(),
            r#type: api::ChangeNotificationType::PeerAdded.into(),
            tls: None,
        };
        // A relay takes the end of the stream for the end of the service: it stays open, and nothing more comes.
        let history = self.history.clone();
        let ended = stream::once(async move { history.closed().await }).filter_map(async |()| None);
        Ok(Response::new(Box::pin(stream::once(async { Ok(here) }).chain(ended))))
    }
}
