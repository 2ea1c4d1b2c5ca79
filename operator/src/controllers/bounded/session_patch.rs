//! How one session is given to a NodeRuntime and taken from it, without touching the others or the stack's pointer.

use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use trilobite_crds::node::{NodeRuntime, Session};

/// A NodeRuntime that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) node: String,
    uid: String,
    /// Where the session stands in the list, if it does.
    position: Option<usize>,
}

impl Target {
    pub(crate) fn of(runtime: &NodeRuntime, position: Option<usize>) -> Option<Self> {
        Some(Self { node: runtime.name_any(), uid: runtime.uid()?, position })
    }
}

/// Gives it: sessions are keyed by name, and each has a field manager of its own.
pub(crate) async fn give(
    client: &Client,
    target: &Target,
    owner_uid: &str,
    session: &Session,
) -> Result<(), kube::Error> {
    // Only metadata is asked back, so that a status that cannot be read hinders nobody.
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    // With the uid, a node that has just left is not made anew.
    let body = json!({
        "apiVersion": "trilobite.dev/v1alpha1", "kind": "NodeRuntime",
        "metadata": {"name": target.node, "uid": target.uid}, "spec": {"sessions": [session]},
    });
    let params = PatchParams::apply(&format!("trilobite-session-{owner_uid}")).force();
    match runtimes.patch_metadata(&target.node, &params, &Patch::Apply(&body)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes it. Whoever gave it: the operator may have been away when its resource was deleted.
pub(crate) async fn take(client: &Client, target: &Target, name: &str) -> Result<(), kube::Error> {
    let Some(position) = target.position else { return Ok(()) };
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    let path = format!("/spec/sessions/{position}");
    // The list may have changed since it was read; then the test fails, and the change brings the next round.
    let patch = json!([
        {"op": "test", "path": format!("{path}/name"), "value": name},
        {"op": "remove", "path": path},
    ]);
    let patch: kube::api::Patch<()> = match serde_json::from_value(patch) {
        Ok(patch) => Patch::Json(patch),
        Err(error) => return Err(kube::Error::SerdeError(error)),
    };
    match runtimes.patch_metadata(&target.node, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
