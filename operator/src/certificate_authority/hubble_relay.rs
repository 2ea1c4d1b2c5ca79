//! The client certificate of an unmodified hubble-relay, as the Secret that its pod mounts holds it. Unlike others its key cannot stay
//! in memory: hubble-relay reads files, again when they change.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use trilobite_crds::read_api::{CA_BUNDLE_KEY, CERTIFICATE_SECONDS, HUBBLE_RELAY, Signer};

use super::{
    issue::{IssueError, LeafRequest, issue},
    stored::{AuthorityError, CERTIFICATE, CaCertificate, KEY, StoredAuthority, text},
};

/// What the Secret says of its certificate; not the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubbleRelayCertificate {
    bundle: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl HubbleRelayCertificate {
    pub(crate) fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, AuthorityError> {
        let certificate = CaCertificate::parse(&text(data, CERTIFICATE)?, CERTIFICATE)?;
        KeyPair::from_pem(&text(data, KEY)?)?;
        let (not_before, not_after) = (certificate.not_before, certificate.not_after);
        Ok(Self { bundle: text(data, CA_BUNDLE_KEY)?, not_before, not_after })
    }

    /// Whether it stays: it is renewed at two thirds of its life, and when the CA changes.
    pub(crate) fn is_current(&self, authority: &StoredAuthority, now: Timestamp) -> bool {
        let life = self.not_after.duration_since(self.not_before);
        self.bundle == authority.bundle() && now.duration_since(self.not_before) < life * 2 / 3
    }
}

/// The data of the Secret, with a new key.
pub(crate) fn issue_hubble_relay(
    authority: &StoredAuthority,
    now: Timestamp,
) -> Result<BTreeMap<String, ByteString>, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let request = CertificateParams::default().serialize_request(&key)?;
    let leaf = LeafRequest {
        signer: Signer::RelayClient,
        public_key: CertificateSigningRequestParams::from_der(request.der())?.public_key,
        // Agents tell it from our own relay by this name.
        dns_names: vec![HUBBLE_RELAY.into()],
        life: SignedDuration::from_secs(CERTIFICATE_SECONDS.into()),
        uid: format!("{HUBBLE_RELAY} {now}"),
    };
    let certificate = issue(authority.current(), leaf, now).map_err(|error| match error {
        IssueError::Sign(error) => AuthorityError::Make(error),
        IssueError::Authority(error) => error,
    })?;
    let entries = [(CERTIFICATE, certificate), (KEY, key.serialize_pem()), (CA_BUNDLE_KEY, authority.bundle())];
    Ok(entries.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).into())
}
