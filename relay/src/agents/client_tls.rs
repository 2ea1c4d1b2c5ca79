//! The relay's side of TLS with agents: its client certificate, and the CA that signs the agents' certificates.

use std::{convert::Infallible, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
};
use tokio::sync::watch;
use trilobite_certificates::{Bundle, Certificate, CertificateState};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the trust bundle: {0}")]
    Bundle(rustls::Error),
    #[error("the certificate: {0}")]
    Certificate(rustls::Error),
}

/// The configuration of new connections.
pub fn client_config(bundle: &Bundle, certificate: &Certificate) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in &bundle.certificates {
        roots.add(root.clone()).map_err(TlsError::Bundle)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificate)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificate.chain.clone(), certificate.private_key())
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each node is connected to once: there is nothing to resume.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Makes a configuration of every new certificate and bundle, for ever. None while either is missing.
pub async fn keep_client_config(
    mut bundle: watch::Receiver<Option<Arc<Bundle>>>,
    mut certificate: watch::Receiver<CertificateState>,
    config: watch::Sender<Option<Arc<ClientConfig>>>,
) -> Infallible {
    loop {
        let current = (bundle.borrow_and_update().clone(), certificate.borrow_and_update().certificate.clone());
        match current {
            (Some(bundle), Some(certificate)) => match client_config(&bundle, &certificate) {
                Ok(made) => {
                    config.send_replace(Some(Arc::new(made)));
                }
                Err(error) => tracing::warn!(%error, "agents are connected to with the last certificate"),
            },
            _ => {
                config.send_replace(None);
            }
        }
        tokio::select! {
            Ok(()) = bundle.changed() => {}
            Ok(()) = certificate.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// ring, whatever other parts of the process have installed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
