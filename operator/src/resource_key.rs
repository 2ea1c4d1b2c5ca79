//! `ResourceKey`: which user resource, whatever its generation.

use std::fmt;

use trilobite_crds::node::{Source, SourceKind};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ResourceKey {
    pub(crate) kind: SourceKind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl From<&Source> for ResourceKey {
    fn from(source: &Source) -> Self {
        Self { kind: source.kind, namespace: source.namespace.clone(), name: source.name.clone() }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{:?}/{}/{}", self.kind, namespace, self.name),
            None => write!(f, "{:?}/{}", self.kind, self.name),
        }
    }
}
