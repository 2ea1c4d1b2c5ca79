//! Asks for one certificate: creates a CertificateSigningRequest and waits until it is signed or denied.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    ByteString,
    api::certificates::v1::{
        CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
    },
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep};
use trilobite_crds::read_api::CERTIFICATE_SECONDS;

use crate::{
    certificate::{Certificate, InvalidCertificate},
    request::Request,
};

/// How long a request may stay unsigned, e.g. while the operator restarts.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);
/// Pauses between two reads of the request.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The key or the request could not be made.
    #[error("cannot make a certificate request: {0}")]
    Request(#[from] rcgen::Error),
    /// The API server.
    #[error("cannot {action} a CertificateSigningRequest: {}", detail(.source))]
    Api {
        /// `create` or `get`.
        action: &'static str,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// The operator refused to sign.
    #[error("certificate request {name} was denied: {reason}: {message}")]
    Denied {
        /// Name of the request.
        name: String,
        /// Reason of the condition.
        reason: String,
        /// Message of the condition.
        message: String,
    },
    /// Nothing was signed in time.
    #[error("certificate request {name} was not signed within {} s; does the operator run?", SIGNED_WITHIN.as_secs())]
    NotSigned {
        /// Name of the request.
        name: String,
    },
    /// Something else than a certificate was signed.
    #[error(transparent)]
    Invalid(#[from] InvalidCertificate),
}

/// The API server's own message where it has answered.
fn detail(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        }
    }
}

/// Asks for a certificate with a new key and waits for it.
pub async fn issue(client: &Client, request: &Request) -> Result<Certificate, CertificateError> {
    let signed = request.sign()?;
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let failed = |action| move |error| CertificateError::Api { action, source: Box::new(error) };
    let created =
        requests.create(&PostParams::default(), &object(request, signed.pem)).await.map_err(failed("create"))?;
    let name = created.metadata.name.unwrap_or_default();
    let deadline = Instant::now() + SIGNED_WITHIN;
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        let current = requests.get(&name).await.map_err(failed("get"))?;
        match outcome(current) {
            Outcome::Signed(pem) => return Ok(Certificate::read(&pem, signed.key)?),
            Outcome::Denied { reason, message } => return Err(CertificateError::Denied { name, reason, message }),
            Outcome::Pending if Instant::now() >= deadline => return Err(CertificateError::NotSigned { name }),
            Outcome::Pending => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

fn object(request: &Request, pem: String) -> CertificateSigningRequest {
    let signer = request.signer;
    CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", signer.account())),
            labels: Some(BTreeMap::from([("app.kubernetes.io/part-of".into(), "trilobite".into())])),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.name().into(),
            expiration_seconds: Some(CERTIFICATE_SECONDS),
            usages: Some(signer.usages().map(String::from).into()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Signed(Vec<u8>),
    Denied { reason: String, message: String },
    Pending,
}

fn outcome(request: CertificateSigningRequest) -> Outcome {
    let status = request.status.unwrap_or_default();
    let refusal =
        |condition: &CertificateSigningRequestCondition| matches!(condition.type_.as_str(), "Denied" | "Failed");
    if let Some(refused) = status.conditions.into_iter().flatten().find(refusal) {
        let (reason, message) = (refused.reason.unwrap_or_default(), refused.message.unwrap_or_default());
        return Outcome::Denied { reason, message };
    }
    match status.certificate {
        Some(ByteString(pem)) if !pem.is_empty() => Outcome::Signed(pem),
        _ => Outcome::Pending,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestStatus;
    use trilobite_crds::read_api::Signer;

    use super::*;

    fn answered(conditions: &[(&str, &str)], certificate: Option<&[u8]>) -> Outcome {
        let condition = |(kind, reason): &(&str, &str)| CertificateSigningRequestCondition {
            type_: (*kind).into(),
            status: "True".into(),
            reason: Some((*reason).into()),
            message: Some("the pod is not on that node".into()),
            ..CertificateSigningRequestCondition::default()
        };
        outcome(CertificateSigningRequest {
            status: Some(CertificateSigningRequestStatus {
                conditions: Some(conditions.iter().map(condition).collect()),
                certificate: certificate.map(|bytes| ByteString(bytes.to_vec())),
            }),
            ..CertificateSigningRequest::default()
        })
    }

    #[test]
    fn request_is_pending_until_it_holds_a_certificate() {
        assert_eq!(outcome(CertificateSigningRequest::default()), Outcome::Pending);
        assert_eq!(answered(&[("Approved", "Checked")], None), Outcome::Pending);
        assert_eq!(answered(&[("Approved", "Checked")], Some(b"pem")), Outcome::Signed(b"pem".to_vec()));
    }

    #[test]
    fn denied_and_failed_requests_have_a_reason() {
        for kind in ["Denied", "Failed"] {
            let Outcome::Denied { reason, message } = answered(&[(kind, "WrongNode")], Some(b"pem")) else {
                panic!("{kind} is not a refusal");
            };
            assert_eq!((reason.as_str(), message.as_str()), ("WrongNode", "the pod is not on that node"));
        }
    }

    #[test]
    fn object_has_signer_usages_and_a_day_of_life() {
        let made = object(&Request::new(Signer::RelayClient, "", "reef"), "pem".into());
        assert_eq!(made.metadata.generate_name.as_deref(), Some("trilobite-relay-"));
        assert_eq!(made.spec.signer_name, "trilobite.dev/relay-client");
        assert_eq!(made.spec.usages.unwrap(), ["digital signature", "client auth"]);
        assert_eq!(made.spec.expiration_seconds, Some(86_400));
    }
}
