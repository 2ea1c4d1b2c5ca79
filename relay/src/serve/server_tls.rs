//! TLS towards the API server and other clients: our serving certificate, and the CA of the certificates by which they show
//! themselves.

use std::{convert::Infallible, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use trilobite_certificates::{Certificate, CertificateState};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    access::{Peer, RequestHeaders},
    agents::provider,
};

#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    #[error("the CA of clients: {0}")]
    ClientCa(Box<dyn std::error::Error + Send + Sync>),
    #[error("the serving certificate: {0}")]
    Certificate(rustls::Error),
}

/// A client may come without a certificate: kubelet's probes and holders of tokens do.
pub fn server_config(certificate: &Certificate, headers: &RequestHeaders) -> Result<ServerConfig, ServerTlsError> {
    tls_config(certificate, &headers.client_ca, b"http/1.1")
}

/// Shows the certificate; a client may come without one, or with one that the CA has signed. Without a CA none is asked for.
pub(crate) fn tls_config(
    certificate: &Certificate,
    client_ca: &[CertificateDer<'static>],
    protocol: &[u8],
) -> Result<ServerConfig, ServerTlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(ServerTlsError::Certificate)?;
    let builder = match client_ca {
        [] => builder.with_no_client_auth(),
        ca => builder.with_client_cert_verifier(client_verifier(ca)?),
    };
    let mut config = builder
        .with_single_cert(certificate.chain.clone(), certificate.private_key())
        .map_err(ServerTlsError::Certificate)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    // A resumed session would keep the peer that an older CA let in.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_verifier(ca: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, ServerTlsError> {
    let mut roots = RootCertStore::empty();
    for root in ca {
        roots.add(root.clone()).map_err(|error| ServerTlsError::ClientCa(error.into()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error: VerifierBuilderError| ServerTlsError::ClientCa(error.into()))
}

/// Whether the certificates of a connection would still be let in: the CA may have changed since the handshake, and they may have
/// expired.
pub(crate) fn is_trusted(certificates: &[CertificateDer<'static>], ca: &[CertificateDer<'static>]) -> bool {
    let Some((own, intermediates)) = certificates.split_first() else { return true };
    let verifier = client_verifier(ca);
    verifier.is_ok_and(|verifier| verifier.verify_client_cert(own, intermediates, UnixTime::now()).is_ok())
}

/// Makes a configuration of every new certificate and CA, for ever. Connections keep the one that they began with.
pub async fn keep_server_config(
    mut certificate: watch::Receiver<CertificateState>,
    mut headers: watch::Receiver<Option<Arc<RequestHeaders>>>,
    make: fn(&Certificate, &RequestHeaders) -> Result<ServerConfig, ServerTlsError>,
    config: watch::Sender<Option<Arc<ServerConfig>>>,
) -> Infallible {
    loop {
        let current = (certificate.borrow_and_update().certificate.clone(), headers.borrow_and_update().clone());
        match current {
            (Some(certificate), Some(headers)) => match make(&certificate, &headers) {
                Ok(made) => {
                    config.send_replace(Some(Arc::new(made)));
                }
                Err(error) => tracing::warn!(%error, "clients are served with the last certificate"),
            },
            _ => {
                config.send_replace(None);
            }
        }
        tokio::select! {
            Ok(()) = certificate.changed() => {}
            Ok(()) = headers.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// The peer of a connection, and its certificates, which were verified.
pub(crate) fn peer(connection: &rustls::ServerConnection) -> (Peer, Vec<CertificateDer<'static>>) {
    let certificates = connection.peer_certificates().unwrap_or_default();
    let first = certificates.first();
    // Without a common name it is the empty name, which no list of allowed names holds.
    let common_name = first.map(|certificate| {
        let parsed = X509Certificate::from_der(certificate).ok();
        let name = parsed.and_then(|(_, parsed)| {
            parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned)
        });
        name.unwrap_or_default()
    });
    let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
    (Peer { common_name }, certificates)
}
