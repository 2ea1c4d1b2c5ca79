//! CertificateSigningRequests of agents and the relay: read_claims -> dereference -> validate -> apply. A request waits
//! while there is no CA, that is, while no relay is wanted.

mod apply;
#[cfg(test)]
mod apply_tests;
mod claims;
mod dereference;
mod refusal;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::runtime::controller::Action;
use trilobite_crds::read_api::Signer;

use self::{
    apply::{ApplyError, is_decided, refuse, sign},
    claims::read_claims,
    dereference::{DereferenceError, dereference},
    validate::validate,
};
use super::runner::ReconcileError;
use crate::context::Context;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error(transparent)]
    Dereference(#[from] DereferenceError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ReconcileError for CertificateError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "Dereference",
            Self::Apply(_) => "Apply",
        }
    }
}

pub(crate) async fn reconcile(
    request: Arc<CertificateSigningRequest>,
    context: Arc<Context>,
) -> Result<Action, CertificateError> {
    let authority = context.authority.borrow().clone();
    let (Some(signer), Some(authority)) = (Signer::from_name(&request.spec.signer_name), authority) else {
        return Ok(Action::await_change());
    };
    if is_decided(&request) {
        return Ok(Action::await_change());
    }
    let (client, namespace) = (&context.client, &context.arguments.namespace);
    let validated = match read_claims(&request, signer, &context.arguments) {
        Ok(claims) => {
            let dereferenced = dereference(client, namespace, &claims).await?;
            validate(&request, &claims, &dereferenced, namespace)
        }
        Err(refusal) => Err(refusal),
    };
    match validated {
        Ok(leaf) => sign(client, &request, leaf, &authority).await?,
        Err(refusal) => refuse(client, &context.recorder, &request, &refusal).await?,
    }
    Ok(Action::await_change())
}
