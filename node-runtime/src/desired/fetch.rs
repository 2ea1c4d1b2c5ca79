//! From a NodeRuntime to what it asks for: its profile, and the parts that this agent lacks, each checked against its digest.

use std::collections::BTreeMap;

use kube::{Api, Client};
use trilobite_crds::node::{Desired, NodeProfile, NodeProfileSpec, NodeRuntime, ProfilePart, ProfilePartSpec};

/// What went wrong on the way from a NodeRuntime to a desired state.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
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
    /// What is in the object is not what its digest was made of.
    #[error("{kind} {name} is not what its digest says: somebody has changed it")]
    Changed {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// The parts that were fetched last, by digest.
pub(super) struct Fetch {
    client: Client,
    parts: BTreeMap<String, ProfilePartSpec>,
}

impl Fetch {
    /// Nothing was fetched yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, parts: BTreeMap::new() }
    }

    /// All that the NodeRuntime asks for, or nothing: what is not whole is not taken.
    pub(super) async fn resolve(&mut self, runtime: &NodeRuntime) -> Result<Desired, FetchError> {
        let sessions = runtime.spec.sessions.clone();
        let Some(reference) = runtime.spec.profile_ref.clone() else {
            return Ok(Desired { sessions, ..Desired::default() });
        };
        let profiles: Api<NodeProfile> = Api::all(self.client.clone());
        let profile = profiles.get(&reference.name).await.map_err(|source| FetchError::Get {
            kind: "NodeProfile",
            name: reference.name.clone(),
            source,
        })?;
        let profile = the_profile(&reference.name, &reference.digest, profile.spec)?;
        let mut parts = BTreeMap::new();
        for wanted in &profile.parts {
            let part = match self.parts.get(&wanted.digest) {
                Some(part) => part.clone(),
                None => self.part(&wanted.name, &wanted.digest).await?,
            };
            parts.insert(wanted.digest.clone(), part);
        }
        self.parts = parts;
        Ok(Desired {
            profile: Some(reference),
            suspended: profile.suspended,
            parts: self.parts.values().cloned().collect(),
            sessions,
            export: profile.export.unwrap_or_default(),
        })
    }

    async fn part(&self, name: &str, digest: &str) -> Result<ProfilePartSpec, FetchError> {
        let parts: Api<ProfilePart> = Api::all(self.client.clone());
        let part = parts.get(name).await.map_err(|source| FetchError::Get {
            kind: "ProfilePart",
            name: name.into(),
            source,
        })?;
        the_part(name, digest, part.spec)
    }
}

fn the_profile(name: &str, wanted: &str, profile: NodeProfileSpec) -> Result<NodeProfileSpec, FetchError> {
    check("NodeProfile", name, &profile.digest, wanted, profile.is_intact())?;
    Ok(profile)
}

fn the_part(name: &str, wanted: &str, part: ProfilePartSpec) -> Result<ProfilePartSpec, FetchError> {
    check("ProfilePart", name, &part.digest, wanted, part.is_intact())?;
    Ok(part)
}

/// The API server refuses changes, but whoever may write to etcd, or may take the rule away, is not held by it.
fn check(kind: &'static str, name: &str, found: &str, wanted: &str, intact: bool) -> Result<(), FetchError> {
    if found != wanted {
        return Err(FetchError::Digest { kind, name: name.into(), found: found.into(), wanted: wanted.into() });
    }
    if !intact {
        return Err(FetchError::Changed { kind, name: name.into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{Inputs, ObservabilityStack, ObservabilityStackSpec, STACK_NAME, plan};

    use super::*;

    fn planned() -> (NodeProfileSpec, ProfilePartSpec) {
        let spec: ObservabilityStackSpec =
            serde_json::from_value(serde_json::json!({ "security": { "mode": "Enabled" } })).unwrap();
        let stack = ObservabilityStack::new(STACK_NAME, spec);
        let planned = plan(&Inputs { stack: &stack, policies: Vec::new(), namespaced_policies: Vec::new() });
        (planned.profile.spec, planned.parts.into_iter().next().unwrap().spec)
    }

    #[test]
    fn what_the_planner_made_is_taken() {
        let (profile, part) = planned();
        assert!(the_profile("p", &profile.digest.clone(), profile).is_ok());
        assert!(the_part("p", &part.digest.clone(), part).is_ok());
    }

    #[test]
    fn a_part_that_was_changed_under_its_digest_is_refused() {
        let (_, mut part) = planned();
        part.source.name = "somebody-else".into();
        let error = the_part("p", &part.digest.clone(), part).unwrap_err();
        assert!(matches!(error, FetchError::Changed { kind: "ProfilePart", .. }), "{error}");
    }

    #[test]
    fn a_profile_that_lacks_a_part_of_its_digest_is_refused() {
        let (mut profile, _) = planned();
        profile.parts.clear();
        assert!(matches!(the_profile("p", &profile.digest.clone(), profile), Err(FetchError::Changed { .. })));
    }

    #[test]
    fn another_object_of_the_name_is_refused() {
        let (_, part) = planned();
        assert!(matches!(the_part("p", "0123", part), Err(FetchError::Digest { .. })));
    }
}
