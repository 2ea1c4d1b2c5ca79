//! How a unit gets its name.

use sha2::{Digest, Sha256};
use trilobite_crds::node::{ProfilePartSpec, Session, Source};

use crate::layers::UnitKey;

impl UnitKey {
    /// A part: the resource, at what it asks. A new generation that asks the same is the same unit: nothing is loaded anew.
    pub fn of_part(part: &ProfilePartSpec) -> Self {
        let content = serde_json::to_vec(&part.content).unwrap_or_default();
        let digest = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self::of(&part.source, digest)
    }

    /// A session: the resource, at the end that it was given.
    pub fn of_session(session: &Session) -> Self {
        Self::of(&session.source, session.expires_at.to_string())
    }

    fn of(source: &Source, version: String) -> Self {
        let name = match &source.namespace {
            Some(namespace) => format!("{namespace}/{}", source.name),
            None => source.name.clone(),
        };
        Self { kind: source.kind, name, version }
    }
}
