//! `WatchRegistry`: every watch is registered here, so that failures are counted and the initial lists are awaited.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use super::{initial_sync::InitialSync, trigger::Trigger};
use crate::metrics::Metrics;

#[derive(Clone)]
pub(crate) struct WatchRegistry {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sync: InitialSync,
    /// Fires when a watch fails.
    pub(crate) failed: Trigger,
}

/// A store, and the stream that keeps it up to date while it is polled.
pub(crate) struct Reflected<K, S>
where
    K: Resource + 'static,
    K::DynamicType: Hash + Eq,
{
    pub(crate) store: Store<K>,
    pub(crate) events: S,
}

/// A watch that restarts by itself after a failure.
pub(crate) fn watch_objects<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    watcher(api, config).backoff(trilobite_backoff::watch_backoff())
}

/// Caches the objects of `events` in a store. `prune` drops fields that are not read, before an object is stored.
pub(crate) fn reflect<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    kind: &'static str,
    registry: &WatchRegistry,
    prune: fn(&mut K),
) -> Reflected<K, impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let WatchRegistry { metrics, sync, failed } = registry.clone();
    sync.expect(kind);
    let events = events
        .modify(move |object| {
            prune(object);
            object.managed_fields_mut().clear();
        })
        .reflect(writer)
        .inspect(move |event| match event {
            Ok(watcher::Event::InitDone) => sync.mark_synced(kind),
            Ok(_) => {}
            Err(error) => {
                metrics.record_watch_error(kind);
                tracing::warn!(%error, kind, "a watch failed and will be restarted");
                failed.fire();
            }
        });
    Reflected { store, events }
}

/// The objects of a store that could be deserialized.
pub(crate) fn readable_objects<K>(store: &Store<DeserializeGuard<K>>) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().filter_map(|object| object.0.as_ref().ok().cloned()).collect()
}
