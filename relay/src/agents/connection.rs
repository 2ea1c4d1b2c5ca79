//! Opens the gRPC connection to one agent.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use trilobite_crds::read_api::node_name;

/// Limits for the TCP connection, and for TLS on it.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
const TLS_TIMEOUT: Duration = Duration::from_millis(1_500);
/// An agent that does not answer a ping for so long is gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// All streams of a node share the connection, and each is read at once.
pub(super) const SHARED: Windows = Windows { connection: 1 << 20, stream: 256 << 10 };

/// Bytes that an agent may send before they are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) connection: u32,
    pub(super) stream: u32,
}

/// Why an agent cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The relay has no certificate or no bundle yet.
    #[error("the relay has no client certificate yet")]
    NoCertificate,
    #[error("node {node} has no agent")]
    NoAgent { node: String },
    #[error("cannot reach the agent at {address}: {detail}")]
    Unreachable { address: SocketAddr, detail: String },
    /// One of the two certificates.
    #[error("the agent at {address} refuses the connection, or is not the agent of node {node}: {detail}")]
    Tls { node: String, address: SocketAddr, detail: String },
}

/// Connects to the agent of a node, whose certificate has to name that node.
pub(super) async fn connect(
    node: &str,
    namespace: &str,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    windows: Windows,
) -> Result<Channel, AgentError> {
    let unreachable = |detail: String| AgentError::Unreachable { address, detail };
    let tcp = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable(format!("no answer within {CONNECT_TIMEOUT:?}"))),
    };
    // Small messages are sent at once.
    let _ = tcp.set_nodelay(true);
    let refused = |detail: String| AgentError::Tls { node: node.to_owned(), address, detail };
    let name = ServerName::try_from(node_name(node, namespace)).map_err(|error| refused(error.to_string()))?;
    let stream = match timeout(TLS_TIMEOUT, TlsConnector::from(tls).connect(name, tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(refused(error.to_string())),
        Err(_) => return Err(unreachable(format!("no TLS within {TLS_TIMEOUT:?}"))),
    };
    channel(stream, windows).await.map_err(|error| refused(error.to_string()))
}

async fn channel(stream: TlsStream<TcpStream>, windows: Windows) -> Result<Channel, tonic::transport::Error> {
    // The pool makes another connection when this one ends, with the certificates of that time.
    let stream = Mutex::new(Some(stream));
    let connector = service_fn(move |_: Uri| {
        let stream = stream.lock().take();
        async move { stream.map(TokioIo::new).ok_or_else(|| io::Error::other("the agent has closed the connection")) }
    });
    // Never resolved, because the connector ignores it; servers require an authority.
    Endpoint::from_static("http://agent.trilobite")
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(windows.connection)
        .initial_stream_window_size(windows.stream)
        .connect_with_connector(connector)
        .await
}
