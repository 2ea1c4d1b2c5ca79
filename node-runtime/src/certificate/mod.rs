//! The certificate of the relay's port: key and certificate are kept in memory, while the port is wanted.

mod relay_only;
mod tls;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use rustls::ServerConfig;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use trilobite_certificates::{Bundle, CertificateState, Request, keep_valid, watch_bundle};
use trilobite_crds::read_api::Signer;

pub use self::{
    relay_only::is_hubble_relay,
    tls::{TlsError, server_config},
};
use crate::problem::Problem;

/// How often the expiry of a certificate is checked: clocks are set.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// Whom the certificate names, and whom the port lets in.
#[derive(Clone, Debug)]
pub struct PortNames {
    pub node: String,
    /// Name in the relay's certificate.
    pub relay: String,
}

/// A certificate that is requested, renewed and forgotten: dropping it ends the requests and forgets the key.
pub struct PortCertificate {
    /// The TLS configuration of new connections; none without a valid certificate.
    pub config: watch::Receiver<Option<Arc<ServerConfig>>>,
    _tasks: JoinSet<()>,
}

impl PortCertificate {
    /// Requests a certificate. While there is none, `problem` says why.
    pub fn hold(client: Client, names: PortNames, problem: watch::Sender<Option<Problem>>) -> Self {
        let namespace = client.default_namespace().to_owned();
        let request = Request::new(Signer::NodeServing, names.node, namespace.clone());
        let (state_sender, state) = watch::channel(CertificateState::default());
        let (bundle_sender, bundle) = watch::channel(None);
        let (config_sender, config) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let client = client.clone();
            async move { match keep_valid(client, request, state_sender).await {} }
        });
        tasks.spawn(async move { match watch_bundle(client, &namespace, bundle_sender).await {} });
        tasks.spawn(follow(state, bundle, names.relay, config_sender, problem));
        Self { config, _tasks: tasks }
    }
}

#[cfg(test)]
impl PortCertificate {
    /// A certificate that the test issues.
    pub(crate) fn of_test(config: watch::Receiver<Option<Arc<ServerConfig>>>) -> Self {
        Self { config, _tasks: JoinSet::new() }
    }
}

/// Makes the configuration anew whenever certificate or bundle change, and takes it away when the certificate expires.
async fn follow(
    mut state: watch::Receiver<CertificateState>,
    mut bundle: watch::Receiver<Option<Arc<Bundle>>>,
    relay: String,
    config: watch::Sender<Option<Arc<ServerConfig>>>,
    problem: watch::Sender<Option<Problem>>,
) {
    let mut last_end = None;
    loop {
        let (state_now, bundle_now) = (state.borrow_and_update().clone(), bundle.borrow_and_update().clone());
        last_end = state_now.certificate.as_ref().map(|certificate| certificate.not_after).or(last_end);
        let is_valid = state_now.certificate.as_ref().is_some_and(|held| !held.is_expired(Timestamp::now()));
        let (wanted, said) = configuration(&state_now, bundle_now.as_deref(), last_end, &relay, Timestamp::now());
        config.send_replace(wanted);
        problem.send_if_modified(|last| std::mem::replace(last, said.clone()) != said);
        // Until something changes, or the certificate has expired.
        loop {
            let changed = async {
                tokio::select! {
                    changed = state.changed() => changed,
                    changed = bundle.changed() => changed,
                }
            };
            match timeout(EXPIRY_INTERVAL, changed).await {
                Ok(Ok(())) => break,
                // The tasks that send have ended: so does this one in a moment.
                Ok(Err(_)) => sleep(EXPIRY_INTERVAL).await,
                Err(_) if is_valid && last_end.is_some_and(|end| end <= Timestamp::now()) => break,
                Err(_) => {}
            }
        }
    }
}

/// The configuration of the port, or why there is none. `last_end` is the end of the last certificate, if there was one.
fn configuration(
    state: &CertificateState,
    bundle: Option<&Bundle>,
    last_end: Option<Timestamp>,
    relay: &str,
    now: Timestamp,
) -> (Option<Arc<ServerConfig>>, Option<Problem>) {
    let not_issued = |detail: String| (None, Some(Problem::CertificateNotIssued { detail }));
    let held = state.certificate.as_ref().filter(|certificate| !certificate.is_expired(now));
    match (held, bundle, &state.problem, last_end) {
        (Some(certificate), Some(bundle), ..) => {
            let made = server_config(certificate.chain.clone(), certificate.private_key(), &bundle.certificates, relay);
            match made {
                Ok(config) => (Some(Arc::new(config)), None),
                Err(error) => not_issued(error.to_string()),
            }
        }
        (Some(_), None, ..) => not_issued("the certificates of the operator's CA are not known yet".into()),
        (None, _, problem, Some(end)) => {
            let detail = problem.clone().unwrap_or_else(|| "it was not renewed in time".into());
            (None, Some(Problem::CertificateExpired { end, detail }))
        }
        (None, _, Some(problem), None) => not_issued(problem.clone()),
        // The first request has no answer yet.
        (None, _, None, None) => (None, None),
    }
}

#[cfg(test)]
pub(crate) mod tests;
