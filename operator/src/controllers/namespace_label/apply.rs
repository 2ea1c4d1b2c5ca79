//! Makes the AppProfile, or deletes it.

use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use trilobite_crds::AppProfile;

use super::{NAME, build::Change};

/// What was being done, and in which namespace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("making AppProfile {NAME} in namespace {namespace}: {source}")]
    Make { namespace: String, source: kube::Error },
    #[error("deleting AppProfile {NAME} in namespace {namespace}: {source}")]
    Delete { namespace: String, source: kube::Error },
}

impl Error {
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Make { .. } => "MakeAppProfile",
            Self::Delete { .. } => "DeleteAppProfile",
        }
    }
}

pub(super) async fn run(change: Change, client: &Client) -> Result<(), Error> {
    let profiles = |namespace: &str| Api::<AppProfile>::namespaced(client.clone(), namespace);
    match change {
        Change::Nothing => Ok(()),
        Change::Make(profile) => {
            let namespace = profile.metadata.namespace.clone().unwrap_or_default();
            // Made, not applied: one that came in between is not overwritten.
            match profiles(&namespace).create(&PostParams::default(), &profile).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                Err(source) => Err(Error::Make { namespace, source }),
            }
        }
        Change::Delete(namespace) => match profiles(&namespace).delete(NAME, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(Error::Delete { namespace, source }),
        },
    }
}
