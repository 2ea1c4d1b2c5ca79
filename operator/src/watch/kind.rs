//! The watch on one user kind, and a bell that rings when an object of it came, went, or was edited: not for its status.

use std::{collections::BTreeMap, fmt::Debug, pin::Pin};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, Resource,
    core::ObjectMeta,
    runtime::{
        reflector::Store,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use super::{Book, Changes, Guarded, Kept, keep, watched};

/// A boxed watch.
pub(crate) type Events<K> = Pin<Box<dyn Stream<Item = Result<Event<K>, watcher::Error>> + Send>>;

/// See the head of this file.
pub(crate) struct Kind<K: Resource<DynamicType = ()> + 'static> {
    pub(crate) store: Store<Guarded<K>>,
    pub(crate) events: Events<Guarded<K>>,
    pub(crate) edits: Changes,
}

/// Watches every object of a kind.
pub(crate) fn kind<K>(client: &Client, name: &'static str, book: &Book) -> Kind<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::<Guarded<K>>::all(client.clone());
    let Kept { store, events } = keep(watched(api, watcher::Config::default()), name, book, |_| {});
    let (events, edits) = announced(events, |meta| (meta.uid.clone(), meta.generation));
    Kind { store, events, edits }
}

/// The same events, and a bell that rings when an object came, went, or has another `version`: what of it matters.
pub(crate) fn announced<K, V>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    version: fn(&ObjectMeta) -> V,
) -> (Events<K>, Changes)
where
    K: Resource,
    V: PartialEq + Send + 'static,
{
    let edits = Changes::new();
    let (bell, mut seen) = (edits.clone(), Seen { version, versions: BTreeMap::new() });
    let events = events.inspect(move |event| {
        if event.as_ref().is_ok_and(|event| seen.is_edit(event)) {
            bell.ring();
        }
    });
    (events.boxed(), edits)
}

/// Namespace and name.
type Name = (Option<String>, Option<String>);

/// The last version of each object.
struct Seen<V> {
    version: fn(&ObjectMeta) -> V,
    versions: BTreeMap<Name, V>,
}

impl<V: PartialEq> Seen<V> {
    fn is_edit<K: Resource>(&mut self, event: &Event<K>) -> bool {
        match event {
            Event::Apply(object) => self.put(object.meta()),
            // The whole list rings once, at its end.
            Event::InitApply(object) => {
                self.put(object.meta());
                false
            }
            Event::Delete(object) => {
                self.versions.remove(&key(object.meta()));
                true
            }
            Event::Init => {
                self.versions.clear();
                false
            }
            Event::InitDone => true,
        }
    }

    fn put(&mut self, meta: &ObjectMeta) -> bool {
        let version = (self.version)(meta);
        let known = self.versions.get(&key(meta)) == Some(&version);
        self.versions.insert(key(meta), version);
        !known
    }
}

fn key(meta: &ObjectMeta) -> Name {
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
    fn a_status_that_was_written_is_no_edit() {
        let mut seen = Seen { version: |meta| (meta.uid.clone(), meta.generation), versions: BTreeMap::new() };
        assert!(seen.is_edit(&Event::Apply(policy(1))));
        assert!(!seen.is_edit(&Event::Apply(policy(1))));
        assert!(seen.is_edit(&Event::Apply(policy(2))));
        assert!(seen.is_edit(&Event::Delete(policy(2))));
        assert!(seen.is_edit(&Event::Apply(policy(2))));
    }
}
