//! The one way in which objects are watched: kept in a store, pruned, guarded against malformed ones, changes announced.

mod changes;
mod delta;
mod first_lists;
mod kind;
pub(crate) mod node_runtimes;
pub(crate) mod pods;

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource, ResourceExt as _,
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

pub(crate) use changes::Changes;
pub(crate) use delta::{Delta, Deltas};
pub(crate) use first_lists::FirstLists;
pub(crate) use kind::{Events, Kind, announced, kind};

use crate::metrics::Metrics;

/// An object, or what is known of one that could not be read.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// A store, and the stream that keeps it up to date while it is polled.
pub(crate) struct Kept<K, S>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    pub(crate) store: Store<K>,
    pub(crate) events: S,
}

/// Where every watch is noted.
#[derive(Clone)]
pub(crate) struct Book {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lists: FirstLists,
}

/// What is kept: a watch on `api` that begins again by itself.
pub(crate) fn watched<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(api, config).backoff(trilobite_patience::of_a_watch())
}

/// Keeps what `events` bring. `prune` drops what nobody reads before it is stored.
pub(crate) fn keep<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    kind: &'static str,
    book: &Book,
    prune: fn(&mut K),
) -> Kept<K, impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let Book { metrics, lists } = book.clone();
    lists.expect(kind);
    let events = events
        .modify(move |object| {
            prune(object);
            object.managed_fields_mut().clear();
        })
        .reflect(writer)
        .inspect(move |event| match event {
            Ok(watcher::Event::InitDone) => lists.read(kind),
            Ok(_) => {}
            Err(error) => {
                metrics.watch_failed(kind);
                tracing::warn!(%error, kind, "a watch broke and begins again");
            }
        });
    Kept { store, events }
}

/// The object, if it could be read.
pub(crate) fn readable<K>(object: &Guarded<K>) -> Result<&K, &InvalidObject> {
    object.0.as_ref()
}

/// Every object of a store that can be read.
pub(crate) fn all<K>(store: &Store<Guarded<K>>) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().filter_map(|object| object.0.as_ref().ok().cloned()).collect()
}
