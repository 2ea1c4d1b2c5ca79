//! Brings the API server in line with what was built: parts before the profile that lists them, the profile before the
//! pointers to it, garbage last.

use std::{fmt::Debug, marker::PhantomData};

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    core::ClusterResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use trilobite_crds::node::{NodeProfile, NodeRuntime, ProfilePart};

use super::build::{Applied, Children, Garbage, Prepared};
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

pub(super) async fn run(children: Children<Prepared>, client: &Client) -> Result<Children<Applied>, Error> {
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
    namespaced(client, &namespace, &config_map).await?;
    match &service {
        Some(service) => namespaced(client, &namespace, service).await?,
        None => {
            delete(&Api::<k8s_openapi::api::core::v1::Service>::namespaced(client.clone(), &namespace), DAEMON_SET)
                .await?
        }
    }
    namespaced(client, &namespace, &daemon_set).await?;
    for runtime in &told {
        cluster(client, runtime).await?;
    }
    remove(client, &garbage).await?;
    let phase = PhantomData;
    Ok(Children { parts, profile, config_map, service, daemon_set, told, garbage, rollout, left, namespace, phase })
}

async fn remove(client: &Client, garbage: &Garbage) -> Result<(), Error> {
    let Garbage { runtimes, profiles, parts } = garbage;
    for name in runtimes {
        delete(&Api::<NodeRuntime>::all(client.clone()), name).await?;
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
    match api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await {
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
