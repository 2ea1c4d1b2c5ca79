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

use super::{Book, Changes, Guarded, Kept, keep};

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
    let edits = Changes::new();
    let (bell, mut seen) = (edits.clone(), Seen::default());
    let api = Api::<Guarded<K>>::all(client.clone());
    let Kept { store, events } = keep(api, watcher::Config::default(), name, book, |_| {});
    let events = events.inspect(move |event| {
        if event.as_ref().is_ok_and(|event| seen.is_edit(event)) {
            bell.ring();
        }
    });
    Kind { store, events: events.boxed(), edits }
}

/// Namespace and name.
type Name = (Option<String>, Option<String>);
/// Uid and generation.
type Version = (Option<String>, Option<i64>);

/// The last generation of each object.
#[derive(Debug, Default)]
struct Seen(BTreeMap<Name, Version>);

impl Seen {
    fn is_edit<K: Resource>(&mut self, event: &Event<K>) -> bool {
        match event {
            Event::Apply(object) => self.put(object.meta()),
            // The whole list rings once, at its end.
            Event::InitApply(object) => {
                self.put(object.meta());
                false
            }
            Event::Delete(object) => {
                self.0.remove(&key(object.meta()));
                true
            }
            Event::Init => {
                self.0.clear();
                false
            }
            Event::InitDone => true,
        }
    }

    fn put(&mut self, meta: &ObjectMeta) -> bool {
        let version = (meta.uid.clone(), meta.generation);
        self.0.insert(key(meta), version.clone()) != Some(version)
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
        let mut seen = Seen::default();
        assert!(seen.is_edit(&Event::Apply(policy(1))));
        assert!(!seen.is_edit(&Event::Apply(policy(1))));
        assert!(seen.is_edit(&Event::Apply(policy(2))));
        assert!(seen.is_edit(&Event::Delete(policy(2))));
        assert!(seen.is_edit(&Event::Apply(policy(2))));
    }
}
