//! Connects `tetra` to the agent's socket, or to another server; prints on standard output.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::Context;
use tonic::transport::{Channel, Endpoint};
use trilobite_api::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;

use super::args::ConnectionArguments;

type Client = FineGuidanceSensorsClient<Channel>;

pub(super) async fn connect(connection: &ConnectionArguments) -> anyhow::Result<Client> {
    let endpoint = Endpoint::from_shared(connection.address())?.connect_timeout(connection.timeout);
    let mut attempt = 0;
    let channel = loop {
        match endpoint.connect().await {
            Ok(channel) => break channel,
            Err(_) if attempt < connection.retries => {
                tokio::time::sleep(Duration::from_secs(1 << attempt.min(5))).await;
                attempt += 1;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("failed to connect to {}", connection.address()));
            }
        }
    };
    let client = FineGuidanceSensorsClient::new(channel).max_decoding_message_size(connection.max_recv_size);
    Ok(client)
}

pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
