//! The desired state of a node in a cluster: its own NodeRuntime, watched by name, and the parts that it lacks, by digest.
//! Nothing else of the user's is ever watched for this.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;
use trilobite_crds::node::{Desired, NodeProfile, NodeRuntime, ProfilePart, ProfilePartSpec};

use super::Update;

/// What went wrong on the way from a NodeRuntime to a desired state.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An object that the NodeRuntime or its profile names could not be had.
    #[error("getting {kind} {name}: {source}")]
    Get {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The API server's words.
        source: kube::Error,
    },
    /// The object is not the one that was named.
    #[error("{kind} {name} has digest {found}, not {wanted}")]
    Digest {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it has.
        found: String,
        /// What was named.
        wanted: String,
    },
}

/// Watches the NodeRuntime `node` and sends each desired state, until the receiver is gone.
pub async fn follow(client: Client, node: String, updates: mpsc::Sender<Update>) {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    let mut source = Source { client, parts: BTreeMap::new() };
    let mut objects = watcher::watch_object(runtimes, &node).default_backoff().boxed();
    while let Some(object) = objects.next().await {
        let runtime = match object {
            Ok(Some(runtime)) => runtime,
            Ok(None) => {
                tracing::info!(%node, "no NodeRuntime for this node yet");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "watching the NodeRuntime; what is in force stays");
                continue;
            }
        };
        let generation = runtime.metadata.generation.unwrap_or_default();
        let desired = source.resolve_with_patience(&runtime).await;
        if updates.send(Update { desired: Arc::new(desired), generation }).await.is_err() {
            return;
        }
    }
}

struct Source {
    client: Client,
    parts: BTreeMap<String, ProfilePartSpec>,
}

impl Source {
    /// The parts may still be on their way when the pointer arrives, and the API server may go away in between.
    async fn resolve_with_patience(&mut self, runtime: &NodeRuntime) -> Desired {
        let mut pause = std::time::Duration::from_millis(200);
        loop {
            match self.resolve(runtime).await {
                Ok(desired) => return desired,
                Err(error) => tracing::warn!(%error, "the profile could not be had; what is in force stays"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(std::time::Duration::from_secs(15));
        }
    }

    async fn resolve(&mut self, runtime: &NodeRuntime) -> Result<Desired, ClusterError> {
        let sessions = runtime.spec.sessions.clone();
        let Some(reference) = runtime.spec.profile_ref.clone() else {
            return Ok(Desired { sessions, ..Desired::default() });
        };
        let profiles: Api<NodeProfile> = Api::all(self.client.clone());
        let profile = profiles.get(&reference.name).await.map_err(|source| ClusterError::Get {
            kind: "NodeProfile",
            name: reference.name.clone(),
            source,
        })?;
        same("NodeProfile", &reference.name, &profile.spec.digest, &reference.digest)?;
        let mut parts = BTreeMap::new();
        for wanted in &profile.spec.parts {
            let part = match self.parts.remove(&wanted.digest) {
                Some(part) => part,
                None => self.part(&wanted.name, &wanted.digest).await?,
            };
            parts.insert(wanted.digest.clone(), part);
        }
        self.parts = parts;
        Ok(Desired {
            profile: Some(reference),
            suspended: profile.spec.suspended,
            parts: self.parts.values().cloned().collect(),
            sessions,
            export: profile.spec.export.unwrap_or_default(),
        })
    }

    async fn part(&self, name: &str, digest: &str) -> Result<ProfilePartSpec, ClusterError> {
        let parts: Api<ProfilePart> = Api::all(self.client.clone());
        let part =
            parts.get(name).await.map_err(|source| ClusterError::Get { kind: "ProfilePart", name: name.into(), source })?;
        same("ProfilePart", name, &part.spec.digest, digest)?;
        Ok(part.spec)
    }
}

fn same(kind: &'static str, name: &str, found: &str, wanted: &str) -> Result<(), ClusterError> {
    if found == wanted {
        return Ok(());
    }
    Err(ClusterError::Digest { kind, name: name.into(), found: found.into(), wanted: wanted.into() })
}
