//! `StoredAuthority`: what the Secret of the CA holds. The names of its entries are those of a TLS Secret, and our own.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;
use x509_parser::pem::Pem;

/// Clocks of nodes may be behind by this much.
pub(super) const CLOCK_SKEW: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// Life of a CA: a year.
pub(super) const LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(365 * 24);

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
/// Certificates that were replaced and have not expired.
const PREVIOUS: &str = "previous.crt";

#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    #[error("{entry} of the Secret is not PEM: {why}")]
    Pem { entry: &'static str, why: String },
    #[error("key and certificate do not belong together")]
    WrongKey,
    #[error("making a key or certificate of the CA: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{0} is not a time that a certificate can have")]
    Time(Timestamp),
}

/// A CA certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(super) certificate: CaCertificate,
    key: String,
}

/// Never the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificate.fmt(f)
    }
}

/// A CA certificate and its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaCertificate {
    pub(super) pem: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Everything that the Secret holds.
#[derive(Clone, Debug)]
pub(crate) struct StoredAuthority {
    /// Signs.
    pub(super) current: Authority,
    /// Signs later, when every agent trusts it.
    pub(super) next: Option<Authority>,
    pub(super) previous: Vec<CaCertificate>,
}

impl Authority {
    /// A new CA that is valid from `now` on.
    pub(super) fn generate(now: Timestamp) -> Result<Self, AuthorityError> {
        let (not_before, not_after) = (add(now, -CLOCK_SKEW)?, add(now, LIFE)?);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // Two CAs of one bundle have different names.
        params.distinguished_name.push(DnType::CommonName, format!("trilobite-ca-{}", now.as_second()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (certificate_time(not_before)?, certificate_time(not_after)?);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate: CaCertificate::parse(&pem, CERTIFICATE)?, key: key.serialize_pem() })
    }

    fn read(
        data: &BTreeMap<String, ByteString>,
        certificate: &'static str,
        key: &'static str,
    ) -> Result<Self, AuthorityError> {
        let authority =
            Self { certificate: CaCertificate::parse(&text(data, certificate)?, certificate)?, key: text(data, key)? };
        authority.issuer()?;
        Ok(authority)
    }

    /// Fails if the key is not the certificate's.
    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let key = KeyPair::from_pem(&self.key)?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(self.certificate.pem.as_bytes())
            .map_err(|error| AuthorityError::Pem { entry: CERTIFICATE, why: error.to_string() })?;
        let certificate =
            pem.parse_x509().map_err(|error| AuthorityError::Pem { entry: CERTIFICATE, why: error.to_string() })?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(AuthorityError::WrongKey);
        }
        Ok(Issuer::from_ca_cert_pem(&self.certificate.pem, key)?)
    }
}

impl CaCertificate {
    pub(super) fn parse(pem: &str, entry: &'static str) -> Result<Self, AuthorityError> {
        let mut all = Self::parse_all(pem, entry)?;
        if all.len() != 1 {
            return Err(AuthorityError::Pem { entry, why: format!("{} certificates, not 1", all.len()) });
        }
        Ok(all.remove(0))
    }

    fn parse_all(pem: &str, entry: &'static str) -> Result<Vec<Self>, AuthorityError> {
        let malformed = |why: String| AuthorityError::Pem { entry, why };
        let mut all = Vec::new();
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|error| malformed(error.to_string()))?;
            let validity = block.parse_x509().map_err(|error| malformed(error.to_string()))?.validity().clone();
            let at = |time: x509_parser::time::ASN1Time| {
                Timestamp::from_second(time.timestamp()).map_err(|error| malformed(error.to_string()))
            };
            let (not_before, not_after) = (at(validity.not_before)?, at(validity.not_after)?);
            all.push(Self { pem: encode_pem(&block.contents), not_before, not_after });
        }
        Ok(all)
    }
}

impl StoredAuthority {
    pub(crate) fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, AuthorityError> {
        let next = data.contains_key(NEXT_CERTIFICATE).then(|| Authority::read(data, NEXT_CERTIFICATE, NEXT_KEY));
        let previous = data.contains_key(PREVIOUS).then(|| text(data, PREVIOUS)).transpose()?.unwrap_or_default();
        Ok(Self {
            current: Authority::read(data, CERTIFICATE, KEY)?,
            next: next.transpose()?,
            previous: CaCertificate::parse_all(&previous, PREVIOUS)?,
        })
    }

    /// The data of the Secret.
    pub(crate) fn write(&self) -> BTreeMap<String, ByteString> {
        let previous: String = self.previous.iter().map(|certificate| certificate.pem.as_str()).collect();
        let current = [(CERTIFICATE, self.current.certificate.pem.clone()), (KEY, self.current.key.clone())];
        let next = self.next.iter();
        let next =
            next.flat_map(|next| [(NEXT_CERTIFICATE, next.certificate.pem.clone()), (NEXT_KEY, next.key.clone())]);
        let previous = Some((PREVIOUS, previous)).filter(|(_, text)| !text.is_empty());
        let entries = current.into_iter().chain(next).chain(previous);
        entries.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).collect()
    }

    /// Every certificate that agents and relay have to trust, in PEM.
    pub(crate) fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| &next.certificate);
        let all = [&self.current.certificate].into_iter().chain(next).chain(&self.previous);
        all.map(|certificate| certificate.pem.as_str()).collect()
    }

    /// The one that signs.
    pub(crate) fn current(&self) -> &Authority {
        &self.current
    }
}

pub(super) fn text(data: &BTreeMap<String, ByteString>, entry: &'static str) -> Result<String, AuthorityError> {
    let bytes = data.get(entry).ok_or(AuthorityError::Missing(entry))?;
    String::from_utf8(bytes.0.clone()).map_err(|error| AuthorityError::Pem { entry, why: error.to_string() })
}

fn encode_pem(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}

pub(super) fn add(time: Timestamp, span: jiff::SignedDuration) -> Result<Timestamp, AuthorityError> {
    time.checked_add(span).map_err(|_| AuthorityError::Time(time))
}

pub(super) fn certificate_time(time: Timestamp) -> Result<OffsetDateTime, AuthorityError> {
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| AuthorityError::Time(time))
}
