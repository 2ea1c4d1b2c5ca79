//! The planner's parts and profile, as objects with an owner. Their names end in their digests, so what exists is right.

use std::collections::BTreeSet;

use kube::Resource;
use trilobite_crds::node::{NodeProfile, ProfilePart};

use super::super::{dereference::Found, validate::Valid};
use crate::children;

/// Parts that are not there yet.
pub(super) fn missing(valid: &Valid, found: &Found) -> Vec<ProfilePart> {
    let there: BTreeSet<_> = found.parts.iter().filter_map(|meta| meta.name.as_deref()).collect();
    let parts = valid.planned.parts.iter();
    parts
        .filter(|part| !part.metadata.name.as_deref().is_some_and(|name| there.contains(name)))
        .map(|part| owned(part, valid))
        .collect()
}

pub(super) fn profile(valid: &Valid) -> NodeProfile {
    owned(&valid.planned.profile, valid)
}

fn owned<K: Resource + Clone>(object: &K, valid: &Valid) -> K {
    let mut object = object.clone();
    object.meta_mut().labels = Some(children::labels());
    object.meta_mut().owner_references = Some(vec![valid.owner.clone()]);
    object
}
