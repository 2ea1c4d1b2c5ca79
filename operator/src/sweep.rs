//! What no controller is called for, because its object is gone: sessions without a resource, node runtimes without a stack,
//! statuses without an object. Runs after changes and at the start, since the operator may have been away.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::reflector::Store,
};
use tokio_util::sync::CancellationToken;
use trilobite_crds::{
    STACK_NAME, UserKind,
    node::{NodeRuntime, SourceKind},
};

use crate::{
    context::{Context, StackNow},
    controllers::bounded::session_patch::{self, Target},
    status::{Key, Report},
    watch::{Changes, Guarded},
};

/// Changes that come together are swept together.
const TOGETHER: Duration = Duration::from_millis(100);
/// After something failed.
const RETRY: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("taking session {name} from node {node}: {source}")]
    Take { name: String, node: String, source: kube::Error },
    #[error("deleting NodeRuntimes, since there is no stack: {0}")]
    DeleteRuntimes(#[source] kube::Error),
}

/// Sweeps whenever one of `bells` rings, until `stop`.
pub(crate) async fn run(context: Arc<Context>, bells: Vec<Changes>, stop: CancellationToken) {
    let mut changes = futures::stream::select_all(bells.iter().map(|bell| bell.stream().boxed()));
    loop {
        let failed = match sweep(&context).await {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(%error, "sweeping; it will be tried again");
                true
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY), if failed => {}
            _ = changes.next() => tokio::time::sleep(TOGETHER).await,
        }
    }
}

async fn sweep(context: &Context) -> Result<(), Error> {
    let stores = &context.stores;
    let keys: BTreeSet<Key> = keys(&stores.stacks)
        .chain(keys(&stores.policies))
        .chain(keys(&stores.namespaced_policies))
        .chain(keys(&stores.captures))
        .chain(keys(&stores.profiles))
        .collect();
    context.pods.keep_only(&keys);
    let runtimes = stores.runtimes.state();
    let mut failed = None;
    for (target, name) in runtimes.iter().flat_map(|runtime| orphans(runtime, &keys)) {
        if let Err(source) = session_patch::take(&context.client, &target, &name).await {
            failed = failed.or(Some(Error::Take { name, node: target.node, source }));
        }
    }
    if matches!(context.stack(), StackNow::Absent) {
        context.plan.send_if_modified(|plan| plan.take().is_some());
    }
    // One that cannot be read unloads no node, and one that is being deleted is torn down by its own controller.
    if !names_a_stack(&keys) && !runtimes.is_empty() {
        tracing::info!(nodes = runtimes.len(), "there is no stack: deleting the NodeRuntimes");
        let all: Api<PartialObjectMeta<NodeRuntime>> = Api::all(context.client.clone());
        let (how, which) = (DeleteParams::default(), ListParams::default());
        all.delete_collection(&how, &which).await.map_err(Error::DeleteRuntimes)?;
    }
    context.report(Report::Known(keys)).await;
    // One node that refuses has kept nobody else from being cleaned.
    failed.map_or(Ok(()), Err)
}

fn names_a_stack(keys: &BTreeSet<Key>) -> bool {
    keys.contains(&Key { kind: SourceKind::ObservabilityStack, namespace: None, name: STACK_NAME.into() })
}

fn keys<K: UserKind + Clone + 'static>(store: &Store<Guarded<K>>) -> impl Iterator<Item = Key> {
    store.state().into_iter().map(|object| {
        let DeserializeGuard(read) = object.as_ref();
        let meta = match read {
            Ok(object) => object.meta(),
            Err(invalid) => &invalid.metadata,
        };
        Key { kind: K::SOURCE_KIND, namespace: meta.namespace.clone(), name: meta.name.clone().unwrap_or_default() }
    })
}

/// Sessions of a node whose resource is gone.
fn orphans(runtime: &NodeRuntime, keys: &BTreeSet<Key>) -> Vec<(Target, String)> {
    let sessions = runtime.spec.sessions.iter().enumerate();
    let mut orphans: Vec<_> = sessions
        .filter(|(_, session)| session.source.kind != SourceKind::ObservabilityStack)
        .filter(|(_, session)| !keys.contains(&Key::from(&session.source)))
        .filter_map(|(position, session)| Some((Target::of(runtime, Some(position))?, session.name.clone())))
        .collect();
    // From the end, so that the places of those that are left stay right.
    orphans.reverse();
    orphans
}
