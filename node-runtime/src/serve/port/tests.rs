//! The port over real TLS: who is let in, and what a new certificate and the end of the port mean for open streams.

use std::io;

use hyper_util::rt::TokioIo;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Request, Streaming,
    service::Routes,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use trilobite_api::{
    observer::{GetFlowsRequest, GetFlowsResponse, observer_client::ObserverClient},
    read_scope::READ_NAMESPACES,
};
use trilobite_certificates::Certificate;

use super::*;
use crate::{
    certificate::tests::{NODE, RELAY, TestAuthority},
    layers::network::{
        flow::{Flow, samples::syn},
        history::{BYTES, FlowBuffer},
    },
    loss::Ledger,
    serve::{hubble, read_rows::ReadRows},
};

/// An open port with flows behind it.
struct Node {
    port: OpenPort,
    config: watch::Sender<Option<Arc<ServerConfig>>>,
    flows: FlowBuffer,
}

impl Node {
    async fn open(authority: &TestAuthority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (config, current) = watch::channel(Some(authority.node_config()));
        let flows = FlowBuffer::new(10_000, BYTES);
        let info = hubble::NodeInfo {
            node: "alder".into(),
            version: "1".into(),
            address: String::new(),
            started: std::time::Instant::now(),
        };
        let (observer, _) =
            hubble::services(flows.clone(), Ledger::default(), info, ReadRows::default(), Arc::default());
        let services = Services::new(Routes::new(observer));
        Self { port: OpenPort::serve(listener, current, services).unwrap(), config, flows }
    }

    /// A client that knows this authority and shows this certificate.
    async fn connect(
        &self,
        authority: &TestAuthority,
        client: Option<&Certificate>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            Some(client) => config.with_client_auth_cert(client.chain.clone(), client.private_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(self.port.address()).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NODE).unwrap(), stream).await
    }

    async fn channel(
        &self,
        authority: &TestAuthority,
        client: Option<&Certificate>,
    ) -> Result<Channel, tonic::transport::Error> {
        let stream = self.connect(authority, client).await;
        let mut stream = Some(stream.map(TokioIo::new));
        let connect = move |_| std::future::ready(stream.take().unwrap_or_else(|| Err(io::Error::other("one"))));
        Endpoint::from_static("http://alder").connect_with_connector(tower::service_fn(connect)).await
    }

    fn push(&self, ports: std::ops::Range<u16>) {
        for port in ports {
            let mut flow: Flow = syn();
            flow.source.set_port(port);
            self.flows.push(Arc::new(flow));
        }
    }
}

fn scoped<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(READ_NAMESPACES, "shop".parse().unwrap());
    request
}

/// Whether a client with this certificate gets an answer. With TLS 1.3 it learns of a refusal at its first read.
async fn is_let_in(node: &Node, authority: &TestAuthority, client: Option<&Certificate>) -> bool {
    let Ok(channel) = node.channel(authority, client).await else { return false };
    let health = HealthClient::new(channel).check(scoped(HealthCheckRequest::default())).await;
    health.is_ok()
}

async fn follow(channel: Channel) -> Streaming<GetFlowsResponse> {
    let request = scoped(GetFlowsRequest { follow: true, ..GetFlowsRequest::default() });
    ObserverClient::new(channel).get_flows(request).await.unwrap().into_inner()
}

/// The source ports of the next flows.
async fn ports(stream: &mut Streaming<GetFlowsResponse>, count: usize) -> Vec<u32> {
    let mut ports = Vec::new();
    while ports.len() < count {
        let message = stream.message().await.unwrap().unwrap();
        let Some(trilobite_api::observer::get_flows_response::ResponseTypes::Flow(flow)) = message.response_types
        else {
            panic!("a loss");
        };
        match flow.l4.unwrap().protocol.unwrap() {
            trilobite_api::flow::layer4::Protocol::Tcp(tcp) => ports.push(tcp.source_port),
            other => panic!("{other:?}"),
        }
    }
    ports
}

#[tokio::test]
async fn unmodified_relay_of_hubble_reads_all_flows_without_a_scope() {
    let authority = TestAuthority::new();
    let node = Node::open(&authority).await;
    node.push(1..6);
    let other_cluster = TestAuthority::new().issue(&["hubble-relay"], &[ClientAuth]);
    assert!(!is_let_in(&node, &authority, Some(&other_cluster)).await);
    assert!(!is_let_in(&node, &authority, Some(&authority.issue(&["hubble-relay"], &[ServerAuth]))).await);
    let hubble_relay = authority.issue(&["hubble-relay"], &[ClientAuth]);
    let channel = node.channel(&authority, Some(&hubble_relay)).await.unwrap();
    let mut flows = ObserverClient::new(channel).get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    assert_eq!(ports(&mut flows, 5).await, [1, 2, 3, 4, 5]);
    // Our own relay names a scope with every call.
    let channel = node.channel(&authority, Some(&authority.relay())).await.unwrap();
    let refused = ObserverClient::new(channel).get_flows(GetFlowsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn only_the_relays_certificate_of_this_authority_is_let_in() {
    let (authority, other_cluster) = (TestAuthority::new(), TestAuthority::new());
    let node = Node::open(&authority).await;
    assert!(is_let_in(&node, &authority, Some(&authority.relay())).await);
    let refused = [
        ("no certificate", None),
        ("the relay of another cluster", Some(other_cluster.relay())),
        ("another agent", Some(authority.node())),
        ("an agent named as the relay", Some(authority.issue(&[RELAY], &[ServerAuth]))),
        ("no purpose", Some(authority.issue(&[RELAY], &[]))),
        ("another client", Some(authority.issue(&["trilobite-relay2"], &[ClientAuth]))),
        ("one more name", Some(authority.issue(&[RELAY, "trilobite-relay2"], &[ClientAuth]))),
        ("an agent that may be a client", Some(authority.issue(&[NODE], &[ClientAuth, ServerAuth]))),
    ];
    for (who, client) in &refused {
        assert!(!is_let_in(&node, &authority, client.as_ref()).await, "{who}");
    }
    assert!(is_let_in(&node, &authority, Some(&authority.relay())).await, "refusals close nothing");
}

#[tokio::test]
async fn call_without_a_scope_is_refused_at_the_port() {
    let authority = TestAuthority::new();
    let node = Node::open(&authority).await;
    let channel = node.channel(&authority, Some(&authority.relay())).await.unwrap();
    let refused = ObserverClient::new(channel.clone()).get_flows(GetFlowsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains(READ_NAMESPACES), "{}", refused.message());
    let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(health.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn new_certificate_loses_nothing_of_an_open_stream() {
    let authority = TestAuthority::new();
    let node = Node::open(&authority).await;
    let relay = authority.relay();
    let mut stream = follow(node.channel(&authority, Some(&relay)).await.unwrap()).await;
    let certificate = |stream: &TlsStream<TcpStream>| -> CertificateDer<'static> {
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let before = certificate(&node.connect(&authority, Some(&relay)).await.unwrap());
    node.push(0..100);
    assert_eq!(ports(&mut stream, 50).await, (0..50).collect::<Vec<_>>());
    node.config.send_replace(Some(authority.node_config()));
    node.push(100..200);
    let after = certificate(&node.connect(&authority, Some(&relay)).await.unwrap());
    assert_ne!(before, after, "a new connection gets the new certificate");
    assert_eq!(ports(&mut stream, 150).await, (50..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn client_of_the_new_authority_is_let_in_beside_an_open_stream() {
    let (old, new) = (TestAuthority::new(), TestAuthority::new());
    let node = Node::open(&old).await;
    let mut stream = follow(node.channel(&old, Some(&old.relay())).await.unwrap()).await;
    node.config.send_replace(Some(new.node_config()));
    assert!(!is_let_in(&node, &old, Some(&old.relay())).await);
    assert!(is_let_in(&node, &new, Some(&new.relay())).await);
    node.push(7..8);
    assert_eq!(ports(&mut stream, 1).await, [7]);
}

#[tokio::test]
async fn closed_port_refuses_connections_and_cuts_open_streams() {
    let authority = TestAuthority::new();
    let node = Node::open(&authority).await;
    let mut stream = follow(node.channel(&authority, Some(&authority.relay())).await.unwrap()).await;
    let address = node.port.address();
    node.port.close().await;
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    // The address is free at once.
    drop(TcpListener::bind(address).await.unwrap());
    let ended = tokio::time::timeout(DRAIN_TIMEOUT * 3, stream.message()).await;
    assert!(!matches!(ended.unwrap(), Ok(Some(_))), "nothing was pushed");
}

#[tokio::test]
async fn port_without_a_configuration_sends_clients_away() {
    let authority = TestAuthority::new();
    let node = Node::open(&authority).await;
    node.config.send_replace(None);
    assert!(!is_let_in(&node, &authority, Some(&authority.relay())).await);
    node.config.send_replace(Some(authority.node_config()));
    assert!(is_let_in(&node, &authority, Some(&authority.relay())).await);
}

#[tokio::test]
async fn silent_clients_keep_no_other_out() {
    let authority = TestAuthority::new();
    let node = Node::open(&authority).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(node.port.address()).await.unwrap());
    }
    assert!(is_let_in(&node, &authority, Some(&authority.relay())).await);
}
