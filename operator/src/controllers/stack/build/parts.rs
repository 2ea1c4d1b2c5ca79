//! The planner's parts and profile as objects with an owner. Their names end in their digests, so an existing one is
//! current.

use std::collections::BTreeSet;

use kube::{Resource, core::ObjectMeta};
use trilobite_crds::node::{NodeProfile, ProfilePart};

use crate::controllers::stack::{dereference::DereferencedStack, validate::ValidatedStack};
use crate::labels::common_labels;

/// Parts that do not exist yet, or whose owner is not this stack: those would be deleted with another one, or never.
pub(super) fn missing_parts(validated: &ValidatedStack, dereferenced: &DereferencedStack) -> Vec<ProfilePart> {
    let owned = dereferenced.parts.iter().filter(|meta| is_owned_by(meta, &validated.owner.uid));
    let existing: BTreeSet<_> = owned.filter_map(|meta| meta.name.as_deref()).collect();
    let parts = validated.planned.parts.iter();
    parts
        .filter(|part| !part.metadata.name.as_deref().is_some_and(|name| existing.contains(name)))
        .map(|part| with_owner(part, validated))
        .collect()
}

fn is_owned_by(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.uid == uid)
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
