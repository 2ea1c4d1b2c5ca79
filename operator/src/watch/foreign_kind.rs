//! The watch on a kind of another project, whose CRD may be installed, or deleted, at any time. Without the CRD there are
//! simply no objects.

use std::{fmt::Debug, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::{
        conditions,
        wait::Condition as _,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use super::{
    registry::{Reflected, WatchRegistry, reflect, watch_objects},
    user_kind::{Events, UserKindWatch, with_trigger},
};

/// How often an absent CRD is looked for.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// As `watch_user_kind`; the initial list is that of no objects while the CRD is absent.
pub(crate) fn watch_foreign_kind<K>(client: &Client, name: &'static str, registry: &WatchRegistry) -> UserKindWatch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let Reflected { store, events } = reflect(objects_while_served(client.clone()), name, registry, |_| {});
    let (events, edited) = with_trigger(events, |meta| (meta.uid.clone(), meta.generation));
    UserKindWatch { store, events, edited }
}

enum WatchState<K> {
    /// Begins an empty list.
    Absent,
    /// Ends it.
    Listed,
    /// Waits for the CRD.
    Waiting,
    Watching(Events<K>),
}

fn objects_while_served<K>(
    client: Client,
) -> impl Stream<Item = Result<Event<DeserializeGuard<K>>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    stream::unfold(WatchState::Absent, move |mut state| {
        let client = client.clone();
        async move {
            loop {
                state = match state {
                    // At the start, a CRD that exists is watched at once.
                    WatchState::Absent if is_served::<K>(&client).await => watch(&client),
                    WatchState::Absent => return Some((Ok(Event::Init), WatchState::Listed)),
                    WatchState::Listed => return Some((Ok(Event::InitDone), WatchState::Waiting)),
                    WatchState::Waiting => {
                        tokio::time::sleep(POLL_INTERVAL).await;
                        if is_served::<K>(&client).await { watch(&client) } else { WatchState::Waiting }
                    }
                    WatchState::Watching(mut events) => match events.next().await {
                        Some(Err(error)) if is_not_found(&error) => WatchState::Absent,
                        Some(event) => return Some((event, WatchState::Watching(events))),
                        None => WatchState::Absent,
                    },
                }
            }
        }
    })
}

fn watch<K>(client: &Client) -> WatchState<DeserializeGuard<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::<DeserializeGuard<K>>::all(client.clone());
    WatchState::Watching(watch_objects(api, watcher::Config::default()).boxed())
}

/// Whether the CRD exists, is established, and is not being deleted.
async fn is_served<K: Resource<DynamicType = ()>>(client: &Client) -> bool {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    match definitions.get_opt(&name).await {
        Ok(definition) => {
            let is_kept = definition.as_ref().is_some_and(|crd| crd.metadata.deletion_timestamp.is_none());
            is_kept && conditions::is_crd_established().matches_object(definition.as_ref())
        }
        Err(error) => {
            tracing::warn!(%error, name, "reading a CRD failed; it will be retried");
            false
        }
    }
}

fn is_not_found(error: &watcher::Error) -> bool {
    let of_api = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 404);
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => of_api(error),
        watcher::Error::WatchError(status) => status.code == 404,
        watcher::Error::NoResourceVersion => false,
    }
}
