//! Signs a certificate for what was validated: its names are ours, only the public key is the request's.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyUsagePurpose, PublicKey, SanType, SerialNumber, string::Ia5String,
};
use trilobite_crds::{planner::content_digest, read_api::Signer};

use super::stored::{Authority, AuthorityError, CLOCK_SKEW, add, certificate_time};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeafRequest {
    pub(crate) signer: Signer,
    pub(crate) public_key: PublicKey,
    pub(crate) dns_names: Vec<String>,
    pub(crate) life: SignedDuration,
    /// UID of the CertificateSigningRequest, of which the serial number is made.
    pub(crate) uid: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error("signing: {0}")]
    Sign(#[from] rcgen::Error),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// The certificate in PEM.
pub(crate) fn issue(authority: &Authority, leaf: LeafRequest, now: Timestamp) -> Result<String, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, leaf.signer.common_name());
    for name in leaf.dns_names {
        params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name)?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match leaf.signer {
        Signer::NodeServing | Signer::RelayServing => ExtendedKeyUsagePurpose::ServerAuth,
        Signer::RelayClient => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params.serial_number = Some(serial_number(&leaf.uid));
    params.use_authority_key_identifier_extension = true;
    let not_after = add(now, leaf.life)?.min(authority.certificate.not_after);
    params.not_before = certificate_time(add(now, -CLOCK_SKEW)?)?;
    params.not_after = certificate_time(not_after)?;
    let request = CertificateSigningRequestParams { params, public_key: leaf.public_key };
    Ok(request.signed_by(&authority.issuer()?)?.pem())
}

/// 16 bytes that begin with a zero bit, as a serial number is positive.
fn serial_number(uid: &str) -> SerialNumber {
    let digest = content_digest(&uid);
    let byte = |at: usize| digest.get(at * 2..at * 2 + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(1);
    let mut bytes: Vec<u8> = (0..16).map(byte).collect();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}
