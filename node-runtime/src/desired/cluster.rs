//! The desired state of a node in a cluster: its own NodeRuntime, watched by name, and the parts that it lacks, by digest.
//! Nothing else of the user's is ever watched for this.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;
use trilobite_crds::node::{Desired, NodeProfile, NodeRuntime, ProfilePart, ProfilePartSpec};

use super::{News, Update};

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

/// The first pause after a profile that could not be had; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Watches the NodeRuntime `node` and sends what it says, until the receiver is gone. While the API server is away,
/// or a part is still on its way, nothing is sent: what is in force stays.
pub async fn follow(client: Client, node: String, news: mpsc::Sender<News>) {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    let mut source = Source { client, parts: BTreeMap::new() };
    let mut objects = watcher::watch_object(runtimes, &node).default_backoff().boxed();
    let mut waiting: Option<NodeRuntime> = None;
    let mut pause = PAUSE;
    loop {
        // A newer object ends the wait for an older one, whose profile may be gone by now.
        tokio::select! {
            object = objects.next() => match object {
                Some(Ok(Some(runtime))) => (waiting, pause) = (Some(runtime), PAUSE),
                Some(Ok(None)) => {
                    tracing::info!(%node, "this node has no NodeRuntime: nothing is wanted of it");
                    waiting = None;
                    if news.send(News::Forgotten).await.is_err() {
                        return;
                    }
                    continue;
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "watching the NodeRuntime; what is in force stays");
                    continue;
                }
                None => return,
            },
            () = tokio::time::sleep(pause), if waiting.is_some() => pause = (pause * 2).min(PAUSE_MAX),
        }
        let Some(runtime) = &waiting else { continue };
        match source.resolve(runtime).await {
            Ok(desired) => {
                let generation = runtime.metadata.generation.unwrap_or_default();
                waiting = None;
                let update = Update { desired: Arc::new(desired), generation };
                if news.send(News::Wanted(update)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "the profile could not be had; what is in force stays"),
        }
    }
}

struct Source {
    client: Client,
    parts: BTreeMap<String, ProfilePartSpec>,
}

impl Source {
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
            let part = match self.parts.get(&wanted.digest) {
                Some(part) => part.clone(),
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
        let part = parts.get(name).await.map_err(|source| ClusterError::Get {
            kind: "ProfilePart",
            name: name.into(),
            source,
        })?;
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
