//! Whether the sender may have what its request asks for. Pure. Who asks is checked before the request itself is parsed,
//! and nothing of it but the public key gets into the certificate.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use trilobite_crds::read_api::{CERTIFICATE_SECONDS, Signer};

use super::{claims::Claims, dereference::DereferencedRequest, refusal::Refusal};
use crate::certificate_authority::LeafRequest;

/// Longest request that is parsed; one of ours has 600 bytes.
const MAX_REQUEST: usize = 8192;

pub(super) fn validate(
    request: &CertificateSigningRequest,
    claims: &Claims,
    dereferenced: &DereferencedRequest,
    namespace: &str,
) -> Result<LeafRequest, Refusal> {
    check_pod(claims, dereferenced)?;
    check_usages(request, claims.signer)?;
    let life = life(request)?;
    let parsed = parse(&request.spec.request.0)?;
    check_subject(&parsed.params, claims.signer)?;
    check_extensions(&parsed.params, claims.signer)?;
    let dns_names = dns_names(&parsed.params)?;
    let expected = claims.signer.dns_names(&claims.node, namespace);
    if dns_names.len() != expected.len()
        || dns_names.into_iter().collect::<BTreeSet<_>>() != expected.iter().map(String::as_str).collect()
    {
        return Err(Refusal::WrongNames { expected });
    }
    Ok(LeafRequest {
        signer: claims.signer,
        public_key: parsed.public_key,
        dns_names: expected,
        life,
        uid: request.metadata.uid.clone().unwrap_or_default(),
    })
}

/// The pod exists, runs on the claimed node with the claimed account, and belongs to the signer's workload.
fn check_pod(claims: &Claims, dereferenced: &DereferencedRequest) -> Result<(), Refusal> {
    let pod = dereferenced.pod.as_ref().filter(|pod| {
        pod.metadata.uid.as_deref() == Some(claims.pod_uid.as_str()) && pod.metadata.deletion_timestamp.is_none()
    });
    let Some(spec) = pod.and_then(|pod| pod.spec.as_ref()) else {
        return Err(Refusal::PodNotFound { pod: claims.pod_name.clone() });
    };
    let pod = claims.pod_name.clone();
    let runs_on = spec.node_name.clone().unwrap_or_default();
    if runs_on != claims.node {
        return Err(Refusal::WrongNode { pod, runs_on, claimed: claims.node.clone() });
    }
    if !dereferenced.owned_by_workload || spec.service_account_name.as_deref() != Some(claims.account.as_str()) {
        let (kind, name) = claims.workload();
        return Err(Refusal::WrongWorkload { pod, workload: format!("{kind} {name}") });
    }
    match &dereferenced.node {
        Some(node) if node.metadata.deletion_timestamp.is_none() => Ok(()),
        _ => Err(Refusal::NodeNotFound { node: claims.node.clone() }),
    }
}

fn check_usages(request: &CertificateSigningRequest, signer: Signer) -> Result<(), Refusal> {
    let expected = signer.usages();
    let usages: Vec<&str> = request.spec.usages.iter().flatten().map(String::as_str).collect();
    let equal = usages.len() == expected.len() && expected.iter().all(|usage| usages.contains(usage));
    if equal { Ok(()) } else { Err(Refusal::WrongUsages { expected }) }
}

fn life(request: &CertificateSigningRequest) -> Result<SignedDuration, Refusal> {
    match request.spec.expiration_seconds.unwrap_or(CERTIFICATE_SECONDS) {
        seconds if seconds > CERTIFICATE_SECONDS => Err(Refusal::LifeTooLong { most: CERTIFICATE_SECONDS }),
        seconds => Ok(SignedDuration::from_secs(seconds.into())),
    }
}

/// Checks the request's signature, and that its key is the only kind that is used here.
fn parse(request: &[u8]) -> Result<CertificateSigningRequestParams, Refusal> {
    let malformed = |why: &str| Refusal::Malformed(why.to_owned());
    if request.len() > MAX_REQUEST {
        return Err(malformed("it is too long"));
    }
    let text = std::str::from_utf8(request).map_err(|_| malformed("it is not PEM"))?;
    let parsed = CertificateSigningRequestParams::from_pem(text).map_err(|error| malformed(&error.to_string()))?;
    if *parsed.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(malformed("the key must be ECDSA P-256"));
    }
    Ok(parsed)
}

fn check_subject(params: &CertificateParams, signer: Signer) -> Result<(), Refusal> {
    let expected = signer.common_name();
    let attributes: Vec<(&DnType, &DnValue)> = params.distinguished_name.iter().collect();
    let value = match attributes.as_slice() {
        [(DnType::CommonName, DnValue::Utf8String(value))] => Some(value.as_str()),
        [(DnType::CommonName, DnValue::PrintableString(value))] => Some(value.as_str()),
        _ => None,
    };
    if value == Some(expected) { Ok(()) } else { Err(Refusal::WrongSubject { expected }) }
}

/// The request may leave out usages; it may not ask for others.
fn check_extensions(params: &CertificateParams, signer: Signer) -> Result<(), Refusal> {
    let granted = match signer {
        Signer::NodeServing | Signer::RelayServing => ExtendedKeyUsagePurpose::ServerAuth,
        Signer::RelayClient => ExtendedKeyUsagePurpose::ClientAuth,
    };
    if params.extended_key_usages.iter().any(|usage| *usage != granted) {
        return Err(Refusal::WrongExtensions("extended key usage"));
    }
    if params.key_usages.iter().any(|usage| *usage != KeyUsagePurpose::DigitalSignature) {
        return Err(Refusal::WrongExtensions("key usage"));
    }
    match params.is_ca {
        IsCa::NoCa | IsCa::ExplicitNoCa => Ok(()),
        IsCa::Ca(_) => Err(Refusal::WrongExtensions("to be a CA")),
    }
}

fn dns_names(params: &CertificateParams) -> Result<Vec<&str>, Refusal> {
    params.subject_alt_names.iter().map(dns_name).collect()
}

/// No address: those of a node are what its kubelet says, and the relay knows an agent by the name of its node.
fn dns_name(name: &SanType) -> Result<&str, Refusal> {
    match name {
        SanType::DnsName(name) => Ok(name.as_str()),
        SanType::IpAddress(_) => Err(Refusal::WrongNameType("IP address")),
        SanType::Rfc822Name(_) => Err(Refusal::WrongNameType("e-mail address")),
        SanType::URI(_) => Err(Refusal::WrongNameType("URI")),
        _ => Err(Refusal::WrongNameType("other")),
    }
}
