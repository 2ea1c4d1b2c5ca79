//! Cleans up after deleted objects, for which no controller is called: sessions without a resource, NodeRuntimes
//! without a stack, index entries and start times without an object. Runs at startup too, because objects may be deleted while the
//! operator is down.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
    core::{DeserializeGuard, ObjectMeta, PartialObjectMeta},
    runtime::reflector::Store,
};
use tokio_util::sync::CancellationToken;
use trilobite_crds::{
    STACK_NAME, UserKind,
    node::{NodeRuntime, SourceKind},
};

use crate::{
    context::{Context, StackState},
    controllers::{
        stack::{TeardownError, unregister},
        time_limited::session_patch::{RuntimeRef, remove_session},
    },
    resource_key::ResourceKey,
    status::ControllerReport,
    watch::Trigger,
};

/// Changes within this time are handled together.
const COALESCE: Duration = Duration::from_millis(100);
/// Delay after an error.
const RETRY: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
enum GarbageError {
    #[error("removing session {name} from noderuntime {node}: {source}")]
    RemoveSession { name: String, node: String, source: kube::Error },
    #[error("there is no stack: {0}")]
    Unregister(#[source] TeardownError),
    #[error("deleting NodeRuntimes, because there is no stack: {0}")]
    DeleteRuntimes(#[source] kube::Error),
}

/// Runs whenever one of `triggers` fires, until `stop`.
pub(crate) async fn collect_garbage(context: Arc<Context>, triggers: Vec<Trigger>, stop: CancellationToken) {
    let mut changes = futures::stream::select_all(triggers.iter().map(|trigger| trigger.stream().boxed()));
    loop {
        let failed = match collect_once(&context).await {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(%error, "garbage collection failed; it will be retried");
                true
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY), if failed => {}
            _ = changes.next() => tokio::time::sleep(COALESCE).await,
        }
    }
}

async fn collect_once(context: &Context) -> Result<(), GarbageError> {
    let stores = &context.stores;
    let existing: BTreeSet<ResourceKey> = keys(&stores.stacks)
        .chain(keys(&stores.policies))
        .chain(keys(&stores.namespaced_policies))
        .chain(keys(&stores.cilium_policies))
        .chain(keys(&stores.cilium_namespaced_policies))
        .chain(keys(&stores.captures))
        .chain(keys(&stores.profiles))
        .collect();
    context.pod_watches.retain(&existing);
    context.starts.retain(&uids(&stores.captures).chain(uids(&stores.profiles)).collect());
    let runtimes = stores.runtimes.state();
    let mut failed = None;
    for (runtime, name) in runtimes.iter().flat_map(|runtime| orphaned_sessions(runtime, &existing)) {
        if let Err(source) = remove_session(&context.client, &runtime, &name).await {
            failed = failed.or(Some(GarbageError::RemoveSession { name, node: runtime.node, source }));
        }
    }
    if matches!(context.stack(), StackState::Absent) {
        context.plan.send_if_modified(|plan| plan.take().is_some());
        context.authority.send_if_modified(|authority| authority.take().is_some());
    }
    // An unreadable stack unloads nothing, and one that is being deleted is torn down by its own controller.
    if !has_stack(&existing) {
        unregister(&context.client).await.map_err(GarbageError::Unregister)?;
    }
    if !has_stack(&existing) && !runtimes.is_empty() {
        tracing::info!(nodes = runtimes.len(), "there is no stack: deleting the NodeRuntimes");
        let all: Api<PartialObjectMeta<NodeRuntime>> = Api::all(context.client.clone());
        let (delete, list) = (DeleteParams::default(), ListParams::default());
        all.delete_collection(&delete, &list).await.map_err(GarbageError::DeleteRuntimes)?;
    }
    context.report(ControllerReport::Existing(existing)).await;
    // Returned last: a node that fails does not keep the others from being cleaned up.
    failed.map_or(Ok(()), Err)
}

fn has_stack(keys: &BTreeSet<ResourceKey>) -> bool {
    let stack = ResourceKey { kind: SourceKind::ObservabilityStack, namespace: None, name: STACK_NAME.into() };
    keys.contains(&stack)
}

fn keys<K: UserKind + Clone + 'static>(store: &Store<DeserializeGuard<K>>) -> impl Iterator<Item = ResourceKey> {
    store.state().into_iter().map(|object| {
        let meta = metadata(&object);
        let name = meta.name.clone().unwrap_or_default();
        ResourceKey { kind: K::SOURCE_KIND, namespace: meta.namespace.clone(), name }
    })
}

fn uids<K: UserKind + Clone + 'static>(store: &Store<DeserializeGuard<K>>) -> impl Iterator<Item = String> {
    store.state().into_iter().filter_map(|object| metadata(&object).uid.clone())
}

fn metadata<K: UserKind>(object: &DeserializeGuard<K>) -> &ObjectMeta {
    match &object.0 {
        Ok(object) => object.meta(),
        Err(invalid) => &invalid.metadata,
    }
}

/// Sessions whose resource is deleted.
fn orphaned_sessions(runtime: &NodeRuntime, existing: &BTreeSet<ResourceKey>) -> Vec<(RuntimeRef, String)> {
    let sessions = runtime.spec.sessions.iter().enumerate();
    let mut orphaned: Vec<_> = sessions
        .filter(|(_, session)| session.source.kind != SourceKind::ObservabilityStack)
        .filter(|(_, session)| !existing.contains(&ResourceKey::from(&session.source)))
        .filter_map(|(index, session)| Some((RuntimeRef::new(runtime, Some(index))?, session.name.clone())))
        .collect();
    // The last one first, so that a removal does not change the index of the others.
    orphaned.reverse();
    orphaned
}
