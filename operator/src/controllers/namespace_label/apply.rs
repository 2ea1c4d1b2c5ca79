//! Creates or deletes the AppProfile.

use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use trilobite_crds::AppProfile;

use super::build::ProfileChange;
use crate::{controllers::runner::ReconcileError, labels::APP_PROFILE_FROM_LABEL};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FromLabelError {
    #[error("creating AppProfile {APP_PROFILE_FROM_LABEL} in namespace {namespace}: {source}")]
    Create { namespace: String, source: kube::Error },
    #[error("deleting AppProfile {APP_PROFILE_FROM_LABEL} in namespace {namespace}: {source}")]
    Delete { namespace: String, source: kube::Error },
}

impl ReconcileError for FromLabelError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Create { .. } => "MakeAppProfile",
            Self::Delete { .. } => "DeleteAppProfile",
        }
    }
}

pub(super) async fn apply(change: ProfileChange, client: &Client) -> Result<(), FromLabelError> {
    let profiles = |namespace: &str| Api::<AppProfile>::namespaced(client.clone(), namespace);
    match change {
        ProfileChange::None => Ok(()),
        ProfileChange::Create(profile) => {
            let namespace = profile.metadata.namespace.clone().unwrap_or_default();
            // Not server-side apply: an AppProfile that a user has created meanwhile must not be overwritten.
            match profiles(&namespace).create(&PostParams::default(), &profile).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                Err(source) => Err(FromLabelError::Create { namespace, source }),
            }
        }
        ProfileChange::Delete(namespace) => {
            match profiles(&namespace).delete(APP_PROFILE_FROM_LABEL, &DeleteParams::default()).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(source) => Err(FromLabelError::Delete { namespace, source }),
            }
        }
    }
}
