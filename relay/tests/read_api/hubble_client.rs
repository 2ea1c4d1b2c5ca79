//! A client as `hubble` is one: by a port-forward, or by TLS with a certificate or a token.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use trilobite_api::{
    observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes, observer_client::ObserverClient},
    relay::NodeState,
};
use trilobite_certificates::Certificate;

use crate::{authority::Authority, client::SERVICE, fixture::Relay};

#[derive(Clone)]
pub(crate) struct HubbleClient {
    pub(crate) channel: Channel,
    authorization: Option<MetadataValue<tonic::metadata::Ascii>>,
}

async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(SERVICE).unwrap();
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, tcp).await?))
}

fn client_config(authority: &Authority, certificate: Option<&Certificate>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.private_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// What a test reads of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Flow(String),
    Lost(u64),
    Nodes(NodeState, Vec<String>),
}

impl HubbleClient {
    pub(crate) async fn by_port_forward(relay: &Relay) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", relay.hubble)).unwrap();
        // What a client that does not read takes.
        let endpoint = endpoint.initial_stream_window_size(64 << 10).initial_connection_window_size(1 << 20);
        let channel = endpoint.connect().await.unwrap();
        Self { channel, authorization: None }
    }

    /// Connects with the first call.
    pub(crate) fn by_tls(relay: &Relay, certificate: Option<&Certificate>) -> Self {
        let (address, config) = (relay.hubble_tls, client_config(&relay.authority, certificate));
        let connector = service_fn(move |_| connect(address, Arc::clone(&config)));
        let channel = Endpoint::from_static("http://hubble-relay").connect_with_connector_lazy(connector);
        Self { channel, authorization: None }
    }

    pub(crate) fn with(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.parse().unwrap());
        self
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    pub(crate) fn observer(&self) -> ObserverClient<Channel> {
        ObserverClient::new(self.channel.clone())
    }

    pub(crate) async fn flows(&self, request: GetFlowsRequest) -> Result<Flows, Status> {
        Ok(Flows(self.observer().get_flows(self.request(request)).await?.into_inner()))
    }

    /// Everything that a request which ends is answered with.
    pub(crate) async fn all(&self, request: GetFlowsRequest) -> Vec<Said> {
        let mut flows = self.flows(request).await.unwrap();
        let mut said = Vec::new();
        while let Some(message) = flows.next().await.unwrap() {
            said.push(message);
        }
        said
    }
}

pub(crate) struct Flows(Streaming<GetFlowsResponse>);

impl Flows {
    /// None at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Said>, Status> {
        let message = timeout(Duration::from_secs(60), self.0.next()).await.expect("a message in time");
        message.transpose().map(|message| {
            message.map(|message| match message.response_types.unwrap() {
                ResponseTypes::Flow(flow) => Said::Flow(flow.uuid),
                ResponseTypes::LostEvents(lost) => Said::Lost(lost.num_events_lost),
                ResponseTypes::NodeStatus(status) => Said::Nodes(status.state_change(), status.node_names),
            })
        })
    }

    pub(crate) async fn expect(&mut self, expected: Said) {
        assert_eq!(self.next().await.unwrap(), Some(expected));
    }
}
