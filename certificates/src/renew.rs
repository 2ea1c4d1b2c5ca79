//! Keeps a certificate valid: a new one at two thirds of the life, with jitter; after a failure again by backoff.

use std::{convert::Infallible, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use tokio::{sync::watch, time::sleep};
use trilobite_backoff::{ExponentialBackoff, with_jitter};

use crate::{certificate::Certificate, issue::issue, request::Request};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

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
    loop {
        let issued = issue(&client, &request).await;
        let now = Timestamp::now();
        let pause = match &issued {
            Ok(certificate) => {
                backoff.reset();
                tracing::info!(signer = request.signer.name(), until = %certificate.not_after, "certificate issued");
                // Early, never late: jitter prolongs by a fifth at most.
                with_jitter(certificate.renewal_due(now).mul_f64(0.8)).max(FIRST_RETRY)
            }
            Err(error) => {
                tracing::warn!(signer = request.signer.name(), %error, "no certificate");
                backoff.next_delay()
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
