//! Writes the decision: Approved and then the certificate, or Denied. A request that was approved by hand, and that
//! must not be signed, gets Failed: the API server permits only one of Approved and Denied.

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder},
};
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::{
    certificate_authority::{Authority, IssueError, LeafRequest, issue},
    labels::MANAGER,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("writing {what} of CertificateSigningRequest {name}: {source}")]
    Write { what: &'static str, name: String, source: kube::Error },
    #[error("CertificateSigningRequest {name}: {source}")]
    Issue { name: String, source: IssueError },
}

/// Approves the request and adds the certificate.
pub(super) async fn sign(
    client: &Client,
    request: &CertificateSigningRequest,
    leaf: LeafRequest,
    authority: &Authority,
) -> Result<(), ApplyError> {
    let (requests, name) = (Api::<CertificateSigningRequest>::all(client.clone()), request.name_any());
    let pem =
        issue(authority, leaf, Timestamp::now()).map_err(|source| ApplyError::Issue { name: name.clone(), source })?;
    let version = if has_condition(request, "Approved") {
        request.resource_version()
    } else {
        let approved = condition(request, "Approved", "Checked", "pod, node and names are those of the sender");
        match write(&name, "approval", requests.patch_approval(&name, &params(), &Patch::Merge(approved)).await)? {
            Some(approved) => approved.resource_version(),
            None => return Ok(()),
        }
    };
    let status = json!({
        "metadata": {"resourceVersion": version}, "status": {"certificate": ByteString(pem.into_bytes())},
    });
    write(&name, "status", requests.patch_status(&name, &params(), &Patch::Merge(status)).await)?;
    Ok(())
}

/// Refuses the request, with an Event.
pub(super) async fn refuse(
    client: &Client,
    recorder: &Recorder,
    request: &CertificateSigningRequest,
    refusal: &Refusal,
) -> Result<(), ApplyError> {
    let (requests, name) = (Api::<CertificateSigningRequest>::all(client.clone()), request.name_any());
    let (reason, message) = (refusal.reason(), refusal.to_string());
    tracing::warn!(request = name, signer = request.spec.signer_name, reason, message, "no certificate is issued");
    let written = if has_condition(request, "Approved") {
        let failed = condition(request, "Failed", reason, &message);
        write(&name, "status", requests.patch_status(&name, &params(), &Patch::Merge(failed)).await)?
    } else {
        let denied = condition(request, "Denied", reason, &message);
        write(&name, "approval", requests.patch_approval(&name, &params(), &Patch::Merge(denied)).await)?
    };
    if written.is_some() {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.into(),
            note: Some(message),
            action: "Signing".into(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &request.object_ref(&())).await {
            tracing::warn!(request = name, %error, "publishing an Event failed");
        }
    }
    Ok(())
}

/// Whether nothing is left to decide.
pub(super) fn is_decided(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
        || has_condition(request, "Denied")
        || has_condition(request, "Failed")
}

fn has_condition(request: &CertificateSigningRequest, r#type: &str) -> bool {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == r#type)
}

/// A patch that adds a condition to those that the request has. The resource version makes it fail if there are others by now.
fn condition(request: &CertificateSigningRequest, r#type: &str, reason: &str, message: &str) -> Value {
    let present = request.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let added = CertificateSigningRequestCondition {
        type_: r#type.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        ..CertificateSigningRequestCondition::default()
    };
    let conditions: Vec<_> = present.into_iter().chain([added]).collect();
    json!({"metadata": {"resourceVersion": request.resource_version()}, "status": {"conditions": conditions}})
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}

/// None if the request was deleted or changed meanwhile: its next event decides again.
fn write(
    name: &str,
    what: &'static str,
    result: kube::Result<CertificateSigningRequest>,
) -> Result<Option<CertificateSigningRequest>, ApplyError> {
    match result {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(source) => Err(ApplyError::Write { what, name: name.to_owned(), source }),
    }
}
