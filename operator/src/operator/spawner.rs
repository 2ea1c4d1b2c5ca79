//! `ControllerSpawner`: every controller with its triggers.

use std::{fmt::Debug, sync::Arc};

use futures::Stream;
use k8s_openapi::api::{apps::v1::DaemonSet, certificates::v1::CertificateSigningRequest};
use kube::{
    Api, Resource,
    core::DeserializeGuard,
    runtime::{Controller, WatchStreamExt as _, controller::Action, reflector::ObjectRef, watcher::Config},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trilobite_crds::{AppProfile, FlowCapture, STACK_NAME, read_api::Signer};

use super::watches::Watches;
use crate::{
    context::Context,
    controllers::{
        certificate, namespace_label,
        runner::{ReadyGate, ReconcileError, run_controller},
        stack, time_limited, tracing_policy,
    },
    labels::agent_selector_query,
    status::UserResource,
    watch::{Trigger, UserKindWatch, owned_object_changes},
};

pub(super) struct ControllerSpawner<'a> {
    pub(super) tasks: &'a TaskTracker,
    pub(super) context: &'a Arc<Context>,
    pub(super) gate: ReadyGate,
    pub(super) stop: &'a CancellationToken,
}

impl ControllerSpawner<'_> {
    pub(super) fn spawn_all(&self, watches: Watches, nodes_changed: &Trigger) {
        let (stack_edited, profile_edited) = (watches.stacks.edited.clone(), watches.profiles.edited.clone());
        let (client, namespace) = (&self.context.client, &self.context.arguments.namespace);
        let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
        let controller = Controller::for_stream(watches.stacks.events.applied_objects(), watches.stacks.store)
            // Not `owns`: it would look for the owner in the DaemonSet's namespace, and a stack is cluster-scoped.
            .watches(daemon_sets, Config::default().labels(&agent_selector_query()), |_| [ObjectRef::new(STACK_NAME)])
            .reconcile_all_on(owned_object_changes(client, namespace, &self.context.metrics))
            .reconcile_all_on(watches.policies.edited.stream())
            .reconcile_all_on(watches.namespaced_policies.edited.stream())
            .reconcile_all_on(watches.cilium_policies.edited.stream())
            .reconcile_all_on(watches.cilium_namespaced_policies.edited.stream())
            // A relay is wanted while there are sessions and results.
            .reconcile_all_on(profile_edited.stream())
            .reconcile_all_on(watches.namespace_ends.stream())
            .reconcile_all_on(nodes_changed.stream());
        self.spawn("stack", controller, stack::reconcile);

        let labels_changed = &watches.namespace_labels_changed;
        let edited = &stack_edited;
        self.spawn_for_policies("tracing-policy", watches.policies, edited, labels_changed);
        self.spawn_for_policies("tracing-policy-namespaced", watches.namespaced_policies, edited, labels_changed);
        self.spawn_for_policies("cilium-tracing-policy", watches.cilium_policies, edited, labels_changed);
        let namespaced = watches.cilium_namespaced_policies;
        self.spawn_for_policies("cilium-tracing-policy-namespaced", namespaced, edited, labels_changed);

        let pods_changed = self.context.pod_watches.changed();
        let controller = for_user_kind(watches.captures, &stack_edited)
            .reconcile_all_on(pods_changed.stream())
            .reconcile_all_on(nodes_changed.stream())
            .reconcile_all_on(labels_changed.stream());
        self.spawn("flow-capture", controller, time_limited::reconcile::<FlowCapture>);
        let controller = for_user_kind(watches.profiles, &stack_edited)
            .reconcile_all_on(pods_changed.stream())
            .reconcile_all_on(nodes_changed.stream())
            .reconcile_all_on(labels_changed.stream());
        self.spawn("app-profile", controller, time_limited::reconcile::<AppProfile>);

        let controller = Controller::for_stream(watches.namespace_events.applied_objects(), watches.namespaces)
            .reconcile_all_on(profile_edited.stream())
            .reconcile_all_on(stack_edited.stream());
        let published = namespace_label::PublishedNotes::default();
        self.spawn("namespace-label", controller, move |namespace, context| {
            namespace_label::reconcile(namespace, context, published.clone())
        });

        let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
        for signer in Signer::ALL {
            let of_signer = Config::default().fields(&format!("spec.signerName={}", signer.name()));
            let controller =
                Controller::new(requests.clone(), of_signer).reconcile_all_on(changes(&self.context.authority));
            self.spawn(controller_name(signer), controller, certificate::reconcile);
        }
    }

    /// Policies of every kind depend on the same: the plan, and labels of namespaces.
    fn spawn_for_policies<K>(
        &self,
        name: &'static str,
        policies: UserKindWatch<K>,
        stack_edited: &Trigger,
        labels_changed: &Trigger,
    ) where
        K: UserResource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let controller = for_user_kind(policies, stack_edited)
            .reconcile_all_on(changes(&self.context.plan))
            .reconcile_all_on(labels_changed.stream());
        self.spawn(name, controller, tracing_policy::reconcile::<K>);
    }

    fn spawn<K, E, F>(
        &self,
        name: &'static str,
        controller: Controller<K>,
        reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        E: ReconcileError,
        F: Future<Output = Result<Action, E>> + Send + 'static,
    {
        let (context, gate, stop) = (self.context.clone(), self.gate.clone(), self.stop.clone());
        self.tasks.spawn(run_controller(name, controller, context, gate, stop, reconcile));
    }
}

/// A controller that reconciles all objects of the kind when the stack is edited.
fn for_user_kind<K>(watch: UserKindWatch<K>, stack_edited: &Trigger) -> Controller<DeserializeGuard<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    Controller::for_stream(watch.events.applied_objects(), watch.store).reconcile_all_on(stack_edited.stream())
}

/// One item for each new value.
fn changes<T: Send + Sync + 'static>(value: &watch::Sender<T>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(value.subscribe(), async |mut value| {
        value.changed().await.ok()?;
        Some(((), value))
    })
}

/// The label of the controller in metrics.
fn controller_name(signer: Signer) -> &'static str {
    match signer {
        Signer::NodeServing => "certificate-node-serving",
        Signer::RelayClient => "certificate-relay-client",
        Signer::RelayServing => "certificate-relay-serving",
    }
}
