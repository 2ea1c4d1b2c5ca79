//! The watch on one user kind, with a trigger that fires when an object is created, deleted or edited, but not for its
//! status.

use std::{collections::BTreeMap, fmt::Debug, pin::Pin};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, ObjectMeta},
    runtime::{
        reflector::Store,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use trilobite_crds::user_kind::is_dry_run;

use super::{
    registry::{Reflected, WatchRegistry, reflect, watch_objects},
    trigger::Trigger,
};

pub(crate) type Events<K> = Pin<Box<dyn Stream<Item = Result<Event<K>, watcher::Error>> + Send>>;

pub(crate) struct UserKindWatch<K: Resource<DynamicType = ()> + 'static> {
    pub(crate) store: Store<DeserializeGuard<K>>,
    pub(crate) events: Events<DeserializeGuard<K>>,
    pub(crate) edited: Trigger,
}

pub(crate) fn watch_user_kind<K>(client: &Client, name: &'static str, registry: &WatchRegistry) -> UserKindWatch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::<DeserializeGuard<K>>::all(client.clone());
    let Reflected { store, events } = reflect(watch_objects(api, watcher::Config::default()), name, registry, |_| {});
    // The annotation of a dry run is no part of the spec, and has no generation.
    let (events, edited) = with_trigger(events, |meta| (meta.uid.clone(), meta.generation, is_dry_run(meta)));
    UserKindWatch { store, events, edited }
}

/// The same events, with a trigger that fires when an object is created or deleted, or its `version` changes.
pub(crate) fn with_trigger<K, V>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    version: fn(&ObjectMeta) -> V,
) -> (Events<K>, Trigger)
where
    K: Resource,
    V: PartialEq + Send + 'static,
{
    let trigger = Trigger::new();
    let (fired, mut seen) = (trigger.clone(), SeenVersions { version, versions: BTreeMap::new() });
    let events = events.inspect(move |event| {
        if event.as_ref().is_ok_and(|event| seen.is_edit(event)) {
            fired.fire();
        }
    });
    (events.boxed(), trigger)
}

/// Namespace and name.
type ObjectName = (Option<String>, Option<String>);

/// The last version of each object.
struct SeenVersions<V> {
    version: fn(&ObjectMeta) -> V,
    versions: BTreeMap<ObjectName, V>,
}

impl<V: PartialEq> SeenVersions<V> {
    fn is_edit<K: Resource>(&mut self, event: &Event<K>) -> bool {
        match event {
            Event::Apply(object) => self.record(object.meta()),
            // A list fires once, at its end.
            Event::InitApply(object) => {
                self.record(object.meta());
                false
            }
            Event::Delete(object) => {
                self.versions.remove(&object_name(object.meta()));
                true
            }
            Event::Init => {
                self.versions.clear();
                false
            }
            Event::InitDone => true,
        }
    }

    fn record(&mut self, meta: &ObjectMeta) -> bool {
        let version = (self.version)(meta);
        let known = self.versions.get(&object_name(meta)) == Some(&version);
        self.versions.insert(object_name(meta), version);
        !known
    }
}

fn object_name(meta: &ObjectMeta) -> ObjectName {
    (meta.namespace.clone(), meta.name.clone())
}

#[cfg(test)]
mod tests {
    use trilobite_crds::TracingPolicy;

    use super::*;

    fn policy(generation: i64) -> TracingPolicy {
        let mut policy = TracingPolicy::default();
        policy.metadata.name = Some("watch-ink".into());
        policy.metadata.generation = Some(generation);
        policy
    }

    #[test]
    fn a_written_status_is_not_an_edit() {
        let mut seen = SeenVersions { version: |meta| (meta.uid.clone(), meta.generation), versions: BTreeMap::new() };
        assert!(seen.is_edit(&Event::Apply(policy(1))));
        assert!(!seen.is_edit(&Event::Apply(policy(1))));
        assert!(seen.is_edit(&Event::Apply(policy(2))));
        assert!(seen.is_edit(&Event::Delete(policy(2))));
        assert!(seen.is_edit(&Event::Apply(policy(2))));
    }
}
