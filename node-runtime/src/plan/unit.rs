//! How a unit gets its name.

use trilobite_crds::node::{ProfilePartSpec, Session, Source};

use crate::layers::UnitKey;

impl UnitKey {
    /// A part: the resource, at the content of the part.
    pub fn of_part(part: &ProfilePartSpec) -> Self {
        Self::of(&part.source, part.digest.clone())
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
