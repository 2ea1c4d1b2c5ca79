//! An HTTPS client, as the API server is one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use trilobite_certificates::Certificate;

use crate::authority::Authority;

pub(crate) const SERVICE: &str = "trilobite-relay.reef.svc";

#[derive(Clone)]
pub(crate) struct HttpsClient {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    headers: Vec<(&'static str, String)>,
}

/// An answer whose body is still being sent.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    body: Incoming,
    buffer: Vec<u8>,
}

impl HttpsClient {
    pub(crate) fn new(address: SocketAddr, authority: &Authority, certificate: Option<&Certificate>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.private_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        Self { address, config: Arc::new(config), headers: Vec::new() }
    }

    pub(crate) fn with(mut self, header: &'static str, value: &str) -> Self {
        self.headers.push((header, value.to_owned()));
        self
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::clone(&self.config)).connect(ServerName::try_from(SERVICE).unwrap(), tcp).await
    }

    async fn sender(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let stream = self.connect().await.map_err(|error| error.to_string())?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, path: &str) -> Request<Empty<Bytes>> {
        let mut request = Request::get(path).header("host", SERVICE);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Empty::new()).unwrap()
    }

    /// A connection for several requests.
    pub(crate) async fn kept_open(&self) -> OpenClient {
        OpenClient { client: self.clone(), sender: self.sender().await.unwrap() }
    }

    /// An error if the connection is refused.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Answer, String> {
        let mut sender = self.sender().await?;
        let response = sender.send_request(self.request(path)).await;
        let (parts, body) = response.map_err(|error| error.to_string())?.into_parts();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, buffer: Vec::new() })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        timeout(Duration::from_secs(60), self.try_get(path)).await.expect("an answer in time").unwrap()
    }

    pub(crate) async fn get_json(&self, path: &str) -> (u16, Value) {
        let answer = self.get(path).await;
        let status = answer.status;
        (status, serde_json::from_slice(&answer.bytes().await).unwrap())
    }
}

/// A client with one connection for all of its requests.
pub(crate) struct OpenClient {
    client: HttpsClient,
    sender: SendRequest<Empty<Bytes>>,
}

impl OpenClient {
    /// The status, and what is said of the connection.
    pub(crate) async fn get(&mut self, path: &str) -> (u16, Option<String>) {
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(self.client.request(path)).await.unwrap();
        let connection = response.headers().get("connection").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        response.into_body().collect().await.unwrap();
        (status, connection)
    }
}

impl Answer {
    pub(crate) async fn bytes(self) -> Vec<u8> {
        let rest = timeout(Duration::from_secs(60), self.body.collect()).await.expect("the end of the body").unwrap();
        [self.buffer, rest.to_bytes().to_vec()].concat()
    }

    /// The next line of a watch; none at its end.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = timeout(Duration::from_secs(60), self.body.frame()).await.expect("a line in time")?;
            if let Ok(data) = frame.unwrap().into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
