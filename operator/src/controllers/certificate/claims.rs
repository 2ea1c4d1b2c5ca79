//! `Claims`: what the API server says about the sender of a request. It fills these fields from the sender's token, so that
//! they cannot be forged; every other field can be.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use trilobite_crds::read_api::{AGENT, EXTRA_NODE_NAME, EXTRA_POD_NAME, EXTRA_POD_UID, RELAY, Signer};

use super::refusal::Refusal;
use crate::args::Arguments;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) signer: Signer,
    pub(super) account: String,
    pub(super) pod_name: String,
    pub(super) pod_uid: String,
    pub(super) node: String,
}

/// Refuses a request of another user, and one that was not made with the token of a pod.
pub(super) fn read_claims(
    request: &CertificateSigningRequest,
    signer: Signer,
    arguments: &Arguments,
) -> Result<Claims, Refusal> {
    let spec = &request.spec;
    let account = match signer.account() {
        AGENT => arguments.node_service_account.clone(),
        other => other.to_owned(),
    };
    let expected = format!("system:serviceaccount:{}:{account}", arguments.namespace);
    let username = spec.username.clone().unwrap_or_default();
    if username != expected {
        return Err(Refusal::WrongUser { username, expected });
    }
    let extra = |key: &'static str| {
        let values = spec.extra.as_ref().and_then(|extra| extra.get(key));
        match values.map(Vec::as_slice) {
            Some([value]) if !value.is_empty() => Ok(value.clone()),
            _ => Err(Refusal::NotFromPod { key }),
        }
    };
    Ok(Claims {
        signer,
        account,
        pod_name: extra(EXTRA_POD_NAME)?,
        pod_uid: extra(EXTRA_POD_UID)?,
        node: extra(EXTRA_NODE_NAME)?,
    })
}

impl Claims {
    /// The workload whose pods use the signer, e.g. `DaemonSet trilobite-node`.
    pub(super) fn workload(&self) -> (&'static str, &'static str) {
        match self.signer {
            Signer::NodeServing => ("DaemonSet", AGENT),
            Signer::RelayClient | Signer::RelayServing => ("Deployment", RELAY),
        }
    }
}
