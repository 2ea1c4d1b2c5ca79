//! The planner's parts and profile as objects with an owner. Their names end in their digests, so an existing one is
//! current.

use std::collections::BTreeSet;

use kube::Resource;
use trilobite_crds::node::{NodeProfile, ProfilePart};

use crate::controllers::stack::{dereference::DereferencedStack, validate::ValidatedStack};
use crate::labels::common_labels;

/// Parts that do not exist yet.
pub(super) fn missing_parts(validated: &ValidatedStack, dereferenced: &DereferencedStack) -> Vec<ProfilePart> {
    let existing: BTreeSet<_> = dereferenced.parts.iter().filter_map(|meta| meta.name.as_deref()).collect();
    let parts = validated.planned.parts.iter();
    parts
        .filter(|part| !part.metadata.name.as_deref().is_some_and(|name| existing.contains(name)))
        .map(|part| with_owner(part, validated))
        .collect()
}

pub(super) fn build_profile(validated: &ValidatedStack) -> NodeProfile {
    with_owner(&validated.planned.profile, validated)
}

fn with_owner<K: Resource + Clone>(object: &K, validated: &ValidatedStack) -> K {
    let mut object = object.clone();
    object.meta_mut().labels = Some(common_labels());
    object.meta_mut().owner_references = Some(vec![validated.owner.clone()]);
    object
}
