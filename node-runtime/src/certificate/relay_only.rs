//! Lets in the client certificates of our relay and of an unmodified hubble-relay, and no other: one that the stack's CA has signed
//! for an agent is refused too.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use trilobite_crds::read_api::HUBBLE_RELAY;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Checks the chain by `chain`, and the name by `identity`.
#[derive(Debug)]
pub(super) struct RelayOnly {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    /// The only DNS name in our relay's certificate.
    pub(super) identity: String,
}

impl ClientCertVerifier for RelayOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        match is_client_named(end_entity, &self.identity) || is_hubble_relay(end_entity) {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Whether the certificate, which was verified, is that of an unmodified hubble-relay.
pub fn is_hubble_relay(certificate: &CertificateDer<'_>) -> bool {
    is_client_named(certificate, HUBBLE_RELAY)
}

/// Whether the certificate says that it is for a client, and has this name alone. The check of the chain lets a certificate
/// pass that says nothing about its purpose.
fn is_client_named(certificate: &CertificateDer<'_>, identity: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let is_for_clients = matches!(certificate.extended_key_usage(), Ok(Some(usage)) if usage.value.client_auth);
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    let [GeneralName::DNSName(name)] = names.value.general_names.as_slice() else { return false };
    is_for_clients && *name == identity
}
