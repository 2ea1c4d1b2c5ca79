//! A certificate with its key, in memory only.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// An issued certificate. Its key is not on any disk and not in `Debug`.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate, then those of its signers.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub(crate) key: Vec<u8>,
    /// Start of its life.
    pub not_before: Timestamp,
    /// End of its life.
    pub not_after: Timestamp,
}

/// What the signer answered is not usable as a certificate.
#[derive(Debug, thiserror::Error)]
#[error("the signer's answer is not a certificate: {0}")]
pub struct InvalidCertificate(pub(crate) String);

impl Certificate {
    /// Reads PEM as the signer writes it, the holder's certificate first; the key is PKCS#8.
    pub fn read(pem: &[u8], key: Vec<u8>) -> Result<Self, InvalidCertificate> {
        let invalid = |what: &dyn fmt::Display| InvalidCertificate(what.to_string());
        let chain =
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| invalid(&error))?;
        let first = chain.first().ok_or_else(|| invalid(&"it holds no certificate"))?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|error| invalid(&error))?;
        let time = |second: i64| Timestamp::from_second(second).map_err(|error| invalid(&error));
        let not_before = time(parsed.validity().not_before.timestamp())?;
        let not_after = time(parsed.validity().not_after.timestamp())?;
        Ok(Self { chain, key, not_before, not_after })
    }

    /// The key, in the form that TLS libraries take.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// Time until two thirds of the life are over.
    pub fn renewal_due(&self, now: Timestamp) -> Duration {
        let life = self.not_after.duration_since(self.not_before);
        let due = self.not_before + life * 2 / 3;
        Duration::try_from(due.duration_since(now)).unwrap_or_default()
    }

    /// Whether its life is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: i64, to: i64) -> Certificate {
        let time = |second| Timestamp::from_second(second).unwrap();
        Certificate { chain: Vec::new(), key: vec![171; 3], not_before: time(from), not_after: time(to) }
    }

    #[test]
    fn renewal_is_due_at_two_thirds_of_the_life() {
        let certificate = certificate(1_000, 4_000);
        let at = |second| certificate.renewal_due(Timestamp::from_second(second).unwrap()).as_secs();
        assert_eq!([at(1_000), at(2_500), at(3_000), at(9_000)], [2_000, 500, 0, 0]);
    }

    #[test]
    fn key_is_not_printed() {
        assert!(!format!("{:?}", certificate(1, 2)).contains("171"));
    }

    #[test]
    fn answer_without_a_certificate_is_refused() {
        assert!(Certificate::read(b"", Vec::new()).is_err());
        assert!(
            Certificate::read(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Vec::new()).is_err()
        );
    }
}
