//! Fetches the NodeProfile of a NodeRuntime and the parts that this agent lacks, each checked against its digest.

use std::collections::BTreeMap;

use kube::{Api, Client};
use trilobite_crds::node::{
    Desired, NodeProfile, NodeProfileSpec, NodeRuntime, NodeRuntimeSpec, ProfilePart, ProfilePartSpec,
};

/// Why a NodeRuntime could not be resolved to a desired state.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("getting {kind} {name}: {source}")]
    Get { kind: &'static str, name: String, source: kube::Error },
    /// The object of that name has another digest.
    #[error("{kind} {name} has digest {found}, not {wanted}")]
    Digest { kind: &'static str, name: String, found: String, wanted: String },
    /// The content does not match the object's own digest.
    #[error("the content of {kind} {name} does not match its digest: it was changed")]
    Changed { kind: &'static str, name: String },
}

/// Keeps the parts of the last fetch, by digest.
pub(super) struct ProfileFetcher {
    client: Client,
    parts: BTreeMap<String, ProfilePartSpec>,
}

impl ProfileFetcher {
    pub(super) fn new(client: Client) -> Self {
        Self { client, parts: BTreeMap::new() }
    }

    /// The whole desired state, or an error: a partial one is never returned.
    pub(super) async fn resolve(&mut self, runtime: &NodeRuntime) -> Result<Desired, FetchError> {
        let NodeRuntimeSpec { profile_ref, sessions, node_labels, listen } = runtime.spec.clone();
        let Some(reference) = profile_ref else {
            return Ok(Desired { sessions, node_labels, listen, ..Desired::default() });
        };
        let profiles: Api<NodeProfile> = Api::all(self.client.clone());
        let profile = profiles.get(&reference.name).await.map_err(|source| FetchError::Get {
            kind: "NodeProfile",
            name: reference.name.clone(),
            source,
        })?;
        let profile = check_profile(&reference.name, &reference.digest, profile.spec)?;
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
            application: profile.application.unwrap_or_default(),
            network: profile.network.unwrap_or_default(),
            node_labels,
            listen,
        })
    }

    async fn part(&self, name: &str, digest: &str) -> Result<ProfilePartSpec, FetchError> {
        let parts: Api<ProfilePart> = Api::all(self.client.clone());
        let part = parts.get(name).await.map_err(|source| FetchError::Get {
            kind: "ProfilePart",
            name: name.into(),
            source,
        })?;
        check_part(name, digest, part.spec)
    }
}

fn check_profile(name: &str, wanted: &str, profile: NodeProfileSpec) -> Result<NodeProfileSpec, FetchError> {
    check_digest("NodeProfile", name, &profile.digest, wanted, profile.is_intact())?;
    Ok(profile)
}

fn check_part(name: &str, wanted: &str, part: ProfilePartSpec) -> Result<ProfilePartSpec, FetchError> {
    check_digest("ProfilePart", name, &part.digest, wanted, part.is_intact())?;
    Ok(part)
}

/// The API server refuses changes of a part; a writer with access to etcd or to the CRD could still make one.
fn check_digest(kind: &'static str, name: &str, found: &str, wanted: &str, intact: bool) -> Result<(), FetchError> {
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
        let planned = plan(&Inputs::new(&stack));
        (planned.profile.spec, planned.parts.into_iter().next().unwrap().spec)
    }

    #[test]
    fn objects_of_the_planner_are_accepted() {
        let (profile, part) = planned();
        assert!(check_profile("p", &profile.digest.clone(), profile).is_ok());
        assert!(check_part("p", &part.digest.clone(), part).is_ok());
    }

    #[test]
    fn part_changed_under_its_digest_is_refused() {
        let (_, mut part) = planned();
        part.source.name = "another-policy".into();
        let error = check_part("p", &part.digest.clone(), part).unwrap_err();
        assert!(matches!(error, FetchError::Changed { kind: "ProfilePart", .. }), "{error}");
    }

    #[test]
    fn profile_that_lacks_a_part_is_refused() {
        let (mut profile, _) = planned();
        profile.parts.clear();
        assert!(matches!(check_profile("p", &profile.digest.clone(), profile), Err(FetchError::Changed { .. })));
    }

    #[test]
    fn object_with_another_digest_is_refused() {
        let (_, part) = planned();
        assert!(matches!(check_part("p", "0123", part), Err(FetchError::Digest { .. })));
    }
}
