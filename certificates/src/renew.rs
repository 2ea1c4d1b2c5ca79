//! Keeps a certificate valid: a new one at two thirds of the life, with jitter; after a failure again by backoff, with one
//! undecided request at most.

use std::{convert::Infallible, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use tokio::{sync::watch, time::sleep};
use trilobite_backoff::{ExponentialBackoff, with_jitter};

use crate::{
    certificate::Certificate,
    issue::{CertificateError, PendingRequest},
    request::Request,
};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// A denied request stays for an hour, and what it was denied for changes rarely.
const LONGEST_RETRY_DENIED: Duration = Duration::from_secs(10 * 60);

/// The certificate now, and why it could not be renewed.
#[derive(Clone, Debug, Default)]
pub struct CertificateState {
    /// The newest certificate; none before the first, and after it has expired.
    pub certificate: Option<Arc<Certificate>>,
    /// The last failure; none after a success.
    pub problem: Option<String>,
}

/// Asks for a certificate and renews it for ever. A failed renewal leaves the old certificate until it expires.
pub async fn keep_valid(client: Client, request: Request, state: watch::Sender<CertificateState>) -> Infallible {
    let mut backoff = ExponentialBackoff::between(FIRST_RETRY, LONGEST_RETRY);
    let mut denied_backoff = ExponentialBackoff::between(FIRST_RETRY, LONGEST_RETRY_DENIED);
    let mut pending = None;
    loop {
        let issued = ask(&client, &request, &mut pending).await;
        let now = Timestamp::now();
        let pause = match &issued {
            Ok(certificate) => {
                backoff.reset();
                denied_backoff.reset();
                tracing::info!(signer = request.signer.name(), until = %certificate.not_after, "certificate issued");
                // Early, never late: jitter prolongs by a fifth at most.
                with_jitter(certificate.renewal_due(now).mul_f64(0.8)).max(FIRST_RETRY)
            }
            Err(error) => {
                tracing::warn!(signer = request.signer.name(), %error, "no certificate");
                match error {
                    // It is waited for at once again.
                    CertificateError::NotSigned { .. } => Duration::ZERO,
                    CertificateError::Denied { .. } => denied_backoff.next_delay(),
                    _ => backoff.next_delay(),
                }
            }
        };
        state.send_modify(|state| match issued {
            Ok(certificate) => {
                *state = CertificateState { certificate: Some(Arc::new(certificate)), problem: None };
            }
            Err(error) => {
                state.problem = Some(error.to_string());
                state.certificate = state.certificate.take().filter(|certificate| !certificate.is_expired(now));
            }
        });
        sleep(pause).await;
    }
}

/// Goes on with the request that is undecided, if there is one.
async fn ask(
    client: &Client,
    request: &Request,
    pending: &mut Option<PendingRequest>,
) -> Result<Certificate, CertificateError> {
    let waiting = match pending {
        Some(waiting) => waiting,
        None => pending.insert(PendingRequest::new(request)?),
    };
    let issued = waiting.wait(client).await;
    if !matches!(issued, Err(CertificateError::NotSigned { .. } | CertificateError::Api { .. })) {
        *pending = None;
    }
    issued
}
