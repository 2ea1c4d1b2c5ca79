//! A unit: the smallest thing that is loaded or refused by itself. Its key, its state, its counts.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use trilobite_crds::node::{
    AppProfileSession, FlowsPart, FlowsSession, PolicyPart, ProcessesPart, ProfilePartSpec, Session, Source, SourceKind,
};

use crate::{loss::stack_source, problem::Problem};

/// Identifies a unit: a part by resource and digest, a session by resource and expiry. A new digest is a new unit, which is
/// attached before the old one is detached. Cheap to clone: a thousand policies are keys of many maps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitKey {
    /// Kind of the resource.
    pub kind: SourceKind,
    /// `name` or `namespace/name` of the resource.
    pub name: Arc<str>,
    /// Digest of the part, or expiry of the session: two versions of a resource differ in it.
    pub version: Arc<str>,
}

/// One unit of the plan, of one kind or (`UnitContent`) of any.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit<T> {
    pub source: Source,
    /// End of a session; none for a part and for the standing profile.
    pub expires_at: Option<Timestamp>,
    pub content: T,
}

/// What a unit loads, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitContent {
    Processes(ProcessesPart),
    Policy(PolicyPart),
    /// A policy of which nothing is loaded.
    PolicyCheck(PolicyPart),
    Flows(FlowsPart),
    Capture(FlowsSession),
    AppProfile(AppProfileSession),
}

impl UnitContent {
    /// Position of the kind in the plan's text.
    pub(super) fn kind_rank(&self) -> u8 {
        match self {
            Self::Processes(_) => 0,
            Self::Policy(_) => 1,
            Self::PolicyCheck(_) => 2,
            Self::Flows(_) => 3,
            Self::Capture(_) => 4,
            Self::AppProfile(_) => 5,
        }
    }
}

/// The state of one unit after `apply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// Loaded and attached. Notes say what is missing, e.g. a hostNetwork pod among the selected ones.
    Active {
        /// Problems that do not keep the unit from being active.
        notes: Vec<Problem>,
    },
    /// Not loaded. An older version of the same resource stays active.
    Refused(Problem),
}

/// Records of a unit so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCount {
    /// Delivered to subscribers.
    pub records: u64,
    /// Lost, at any loss point.
    pub lost: u64,
}

/// Keys of parts by the parts' digests: a thousand policies are hashed once, not at each change of one.
#[derive(Debug, Default)]
pub struct PartKeys(HashMap<String, UnitKey>);

impl PartKeys {
    /// Remembers the keys of these parts and of no other.
    pub fn remember<'a>(&mut self, parts: impl Iterator<Item = &'a ProfilePartSpec>) {
        let mut before = std::mem::take(&mut self.0);
        // Parts without a digest are those of tests.
        for part in parts.filter(|part| !part.digest.is_empty()) {
            let known = before.remove(&part.digest);
            self.0.entry(part.digest.clone()).or_insert_with(|| known.unwrap_or_else(|| UnitKey::of_part(part)));
        }
    }

    /// As `UnitKey::of_part`.
    pub fn key(&self, part: &ProfilePartSpec) -> UnitKey {
        self.0.get(&part.digest).cloned().unwrap_or_else(|| UnitKey::of_part(part))
    }
}

fn short_digest(content: &impl Serialize) -> String {
    let content = serde_json::to_vec(content).unwrap_or_default();
    Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl UnitKey {
    /// The key of a part. A new generation with the same content is the same unit: nothing is loaded again.
    pub fn of_part(part: &ProfilePartSpec) -> Self {
        Self::new(&part.source, &short_digest(&part.content))
    }

    /// The key of the standing profile: with other settings it is another unit.
    pub fn of_standing(session: &AppProfileSession) -> Self {
        Self::new(&stack_source(), &format!("standing {}", short_digest(session)))
    }

    /// The key of a session.
    pub fn of_session(session: &Session) -> Self {
        Self::new(&session.source, &session.expires_at.to_string())
    }

    fn new(source: &Source, version: &str) -> Self {
        let name = match &source.namespace {
            Some(namespace) => format!("{namespace}/{}", source.name),
            None => source.name.clone(),
        };
        Self { kind: source.kind, name: name.into(), version: version.into() }
    }
}
