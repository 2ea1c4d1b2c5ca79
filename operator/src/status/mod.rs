//! From what nodes say to what people read: facts -> index -> tally -> conditions -> one writer.

mod asked;
mod conditions;
mod debounce;
mod events;
mod facts;
mod feed;
mod fit;
mod fleet_events;
mod index;
#[cfg(test)]
mod index_tests;
mod node;
#[cfg(test)]
mod session_tests;
mod tally;
pub(crate) mod words;
#[cfg(test)]
mod words_tests;
mod writer;
#[cfg(test)]
mod writer_tests;
mod written;

use std::fmt;

use trilobite_crds::node::{Source, SourceKind};

pub(crate) use asked::{Asked, Report, Rollout, SessionAsked, Wanted};
pub(crate) use facts::AgentFact;
pub(crate) use feed::{Feed, refusals};
pub(crate) use node::Patience;
pub(crate) use writer::{Writer, reporter};
pub(crate) use written::{Reported, Written};

/// A user resource, whatever its generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: SourceKind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl From<&Source> for Key {
    fn from(source: &Source) -> Self {
        Self { kind: source.kind, namespace: source.namespace.clone(), name: source.name.clone() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{:?}/{}/{}", self.kind, namespace, self.name),
            None => write!(f, "{:?}/{}", self.kind, self.name),
        }
    }
}
