//! Brings the API server in line with what was built: parts before the profile that lists them, the profile before the
//! pointers to it; agents that have to go are told so before their pods are taken from them; other garbage last.

use std::{fmt::Debug, marker::PhantomData};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Service};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    core::ClusterResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use trilobite_crds::node::{NodeProfile, NodeRuntime, ProfilePart};

use super::{
    build::{Applied, Children, Garbage, Prepared},
    teardown::UNLOADING,
};
use crate::children::{DAEMON_SET, MANAGER};

/// What was being done, and to which object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("applying {kind} {name}: {source}")]
    Apply { kind: String, name: String, source: kube::Error },
    #[error("deleting {kind} {name}: {source}")]
    Delete { kind: String, name: String, source: kube::Error },
}

impl Error {
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "Apply",
            Self::Delete { .. } => "Delete",
        }
    }

    pub(super) fn cause(&self) -> &kube::Error {
        match self {
            Self::Apply { source, .. } | Self::Delete { source, .. } => source,
        }
    }
}

/// What Kubernetes says of a child that `spec.runtime` made impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotTaken {
    pub(super) kind: String,
    pub(super) why: String,
}

/// Returns what was applied, and of what concerns the agents' pods alone, what Kubernetes refused: only another spec heals
/// that, and it must not keep policies from the agents that run.
pub(super) async fn run(
    children: Children<Prepared>,
    client: &Client,
) -> Result<(Children<Applied>, Vec<NotTaken>), Error> {
    // Without `..`: a new kind of child does not compile before somebody applies it.
    let Children {
        parts,
        profile,
        config_map,
        service,
        daemon_set,
        told,
        garbage,
        rollout,
        left,
        namespace,
        phase: PhantomData,
    } = children;
    for part in &parts {
        cluster(client, part).await?;
    }
    cluster(client, &profile).await?;
    unload(client, &garbage).await?;
    let mut refused = Vec::new();
    refused.extend(not_taken(namespaced(client, &namespace, &config_map).await)?);
    if let Some(service) = &service {
        refused.extend(not_taken(namespaced(client, &namespace, service).await)?);
    }
    refused.extend(not_taken(namespaced(client, &namespace, &daemon_set).await)?);
    for runtime in &told {
        cluster(client, runtime).await?;
    }
    remove(client, &namespace, &garbage).await?;
    let phase = PhantomData;
    let applied =
        Children { parts, profile, config_map, service, daemon_set, told, garbage, rollout, left, namespace, phase };
    Ok((applied, refused))
}

/// Kubernetes has read it and will not have it.
fn not_taken(result: Result<(), Error>) -> Result<Option<NotTaken>, Error> {
    match result {
        Ok(()) => Ok(None),
        Err(Error::Apply { kind, source: kube::Error::Api(status), .. }) if matches!(status.code, 400 | 422) => {
            Ok(Some(NotTaken { kind, why: status.message.clone() }))
        }
        Err(error) => Err(error),
    }
}

/// Agents whose nodes are not the stack's any more unload and clean their disks while their pods are still there.
async fn unload(client: &Client, garbage: &Garbage) -> Result<(), Error> {
    for name in &garbage.runtimes {
        delete(&Api::<NodeRuntime>::all(client.clone()), name).await?;
    }
    if !garbage.runtimes.is_empty() {
        tokio::time::sleep(UNLOADING).await;
    }
    Ok(())
}

async fn remove(client: &Client, namespace: &str, garbage: &Garbage) -> Result<(), Error> {
    // NodeRuntimes went first: `unload`.
    let Garbage { runtimes: _, profiles, parts, service } = garbage;
    if *service {
        delete(&Api::<Service>::namespaced(client.clone(), namespace), DAEMON_SET).await?;
    }
    for name in profiles {
        delete(&Api::<NodeProfile>::all(client.clone()), name).await?;
    }
    for name in parts {
        delete(&Api::<ProfilePart>::all(client.clone()), name).await?;
    }
    Ok(())
}

async fn cluster<K>(client: &Client, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    apply(&Api::all(client.clone()), object).await
}

async fn namespaced<K>(client: &Client, namespace: &str, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    apply(&Api::namespaced(client.clone(), namespace), object).await
}

async fn apply<K>(api: &Api<K>, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = object.name_any();
    // Only metadata is asked back: what others wrote into the object cannot be what hinders.
    match api.patch_metadata(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Apply { kind: K::kind(&()).into_owned(), name, source }),
    }
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(Error::Delete { kind: K::kind(&()).into_owned(), name: name.into(), source }),
    }
}
