//! Deletes objects that may be gone already.

use std::fmt::Debug;

use kube::{Api, api::DeleteParams};
use serde::de::DeserializeOwned;

/// What the object owns is deleted after it.
pub(super) async fn delete_if_present<K>(api: &Api<K>, name: &str) -> kube::Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
