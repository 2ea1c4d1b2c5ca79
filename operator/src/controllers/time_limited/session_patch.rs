//! Adds one session to a NodeRuntime and removes one, without touching other sessions or the stack's profile reference.

use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use trilobite_crds::node::{NodeRuntime, Session};

/// An existing NodeRuntime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeRef {
    pub(crate) node: String,
    uid: String,
    /// Index of the session in the list, if it is there.
    session_index: Option<usize>,
}

impl RuntimeRef {
    pub(crate) fn new(runtime: &NodeRuntime, session_index: Option<usize>) -> Option<Self> {
        Some(Self { node: runtime.name_any(), uid: runtime.uid()?, session_index })
    }
}

/// Sessions are keyed by name in the list, and each has a field manager of its own.
pub(crate) async fn add_session(
    client: &Client,
    runtime: &RuntimeRef,
    owner_uid: &str,
    session: &Session,
) -> Result<(), kube::Error> {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    // With the UID, the NodeRuntime of a node that has just left is not created again.
    let body = json!({
        "apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime",
        "metadata": {"name": runtime.node, "uid": runtime.uid}, "spec": {"sessions": [session]},
    });
    let params = PatchParams::apply(&format!("trilobite-session-{owner_uid}")).force();
    // Only metadata is returned, so that a status of another version cannot fail the request.
    match runtimes.patch_metadata(&runtime.node, &params, &Patch::Apply(&body)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the session whatever its field manager: its resource may have been deleted while the operator was down.
pub(crate) async fn remove_session(client: &Client, runtime: &RuntimeRef, name: &str) -> Result<(), kube::Error> {
    let Some(index) = runtime.session_index else { return Ok(()) };
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    let path = format!("/spec/sessions/{index}");
    // If the list has changed since it was read, the test fails, and the change triggers the next reconcile.
    let patch = json!([
        {"op": "test", "path": format!("{path}/name"), "value": name},
        {"op": "remove", "path": path},
    ]);
    let patch: kube::api::Patch<()> = match serde_json::from_value(patch) {
        Ok(patch) => Patch::Json(patch),
        Err(error) => return Err(kube::Error::SerdeError(error)),
    };
    match runtimes.patch_metadata(&runtime.node, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
