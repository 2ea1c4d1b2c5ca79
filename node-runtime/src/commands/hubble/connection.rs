//! Connects `hubble` to the agent's socket, or to another server.

use anyhow::Context;
use tonic::transport::{Channel, Endpoint};
use trilobite_api::observer::observer_client::ObserverClient;

use super::args::ServerArguments;

pub(super) async fn connect(server: &ServerArguments) -> anyhow::Result<ObserverClient<Channel>> {
    let endpoint = Endpoint::from_shared(server.address())?.connect_timeout(server.timeout);
    let channel = endpoint.connect().await.with_context(|| format!("failed to connect to '{}'", server.address()))?;
    Ok(ObserverClient::new(channel))
}
