//! TLS of the relay's port: version 1.3, certificates on both sides.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};

use super::relay_only::RelayOnly;

/// Why there is no configuration of the port.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificates of the CA: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Shows this certificate, and lets in the client named `relay` with a certificate of one of these authorities.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: &[CertificateDer<'static>],
    relay: &str,
) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone())?;
    }
    let provider = Arc::new(ring::default_provider());
    let chain_verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
    let verifier = RelayOnly { chain: chain_verifier, identity: relay.to_owned() };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each connection shows its certificate anew, also after the authority has changed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
