//! Asks for one certificate: creates a CertificateSigningRequest and waits until it is signed or denied. One that is not
//! decided yet is kept: while no operator runs, requests must not pile up.

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
use trilobite_backoff::with_jitter;
use trilobite_crds::read_api::{CERTIFICATE_SECONDS, Signer};

use crate::{
    certificate::{Certificate, InvalidCertificate},
    request::{Request, SignedRequest},
};

/// How long a request may stay unsigned, e.g. while the operator restarts, before that is a problem.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);
/// Pauses between two reads of the request. The longest is for a thousand agents without an operator.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

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
    /// It was deleted before it was decided, e.g. by Kubernetes after a day.
    #[error("certificate request {name} was deleted before it was signed")]
    Deleted {
        /// Name of the request.
        name: String,
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
    PendingRequest::new(request)?.wait(client).await
}

/// A request until it is decided, with its key.
pub(crate) struct PendingRequest {
    object: CertificateSigningRequest,
    name: String,
    key: Vec<u8>,
    is_created: bool,
    pause: Duration,
}

impl PendingRequest {
    /// Makes a new key.
    pub(crate) fn new(request: &Request) -> Result<Self, CertificateError> {
        let SignedRequest { name, pem, key } = request.sign()?;
        let object = object(request.signer, &name, pem);
        Ok(Self { object, name, key, is_created: false, pause: FIRST_PAUSE })
    }

    /// Creates it unless it exists, and waits for an answer. After `NotSigned` or `Api` it may be waited for again.
    pub(crate) async fn wait(&mut self, client: &Client) -> Result<Certificate, CertificateError> {
        let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
        self.create(&requests).await?;
        let deadline = Instant::now() + SIGNED_WITHIN;
        loop {
            sleep(with_jitter(self.pause)).await;
            let name = self.name.clone();
            let current = match requests.get_opt(&name).await {
                Ok(Some(current)) => current,
                Ok(None) => return Err(CertificateError::Deleted { name }),
                Err(source) => return Err(CertificateError::Api { action: "get", source: Box::new(source) }),
            };
            match outcome(current) {
                Outcome::Signed(pem) => return Ok(Certificate::read(&pem, self.key.clone())?),
                Outcome::Denied { reason, message } => return Err(CertificateError::Denied { name, reason, message }),
                Outcome::Pending if Instant::now() >= deadline => return Err(CertificateError::NotSigned { name }),
                Outcome::Pending => self.pause = (self.pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    async fn create(&mut self, requests: &Api<CertificateSigningRequest>) -> Result<(), CertificateError> {
        if self.is_created {
            return Ok(());
        }
        match requests.create(&PostParams::default(), &self.object).await {
            Ok(_) => {}
            // The answer to an earlier creation was lost: the name is made of the key.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(source) => return Err(CertificateError::Api { action: "create", source: Box::new(source) }),
        }
        self.is_created = true;
        Ok(())
    }
}

fn object(signer: Signer, name: &str, pem: String) -> CertificateSigningRequest {
    CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
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
        let made = object(Signer::RelayClient, "trilobite-relay-7", "pem".into());
        assert_eq!(made.metadata.name.as_deref(), Some("trilobite-relay-7"));
        assert_eq!(made.spec.signer_name, "trilobite.dev/relay-client");
        assert_eq!(made.spec.usages.unwrap(), ["digital signature", "client auth"]);
        assert_eq!(made.spec.expiration_seconds, Some(86_400));
    }
}
