//! The directory of a cluster: watches on all pods, Services and nodes, and on the ranges of Services, keeping only the
//! fields that matter.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures::StreamExt;
use ipnet::IpNet;
use kube::{
    Api, Client,
    api::{ApiResource, GroupVersionKind},
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use super::{
    Directory, DirectoryTable, NodeAddresses, NodePod, PublishedService,
    objects::{self, NodeObject, ServiceCidrObject, ServiceObject},
};
use crate::{
    identity::{PodObject, warn_unreadable},
    layers::network::{
        decode::Transport,
        endpoint::{ConnectionEnd, Endpoint},
        verdict::PolicyIndex,
    },
};

/// Objects in one page of a list, so that a large cluster's list is never in memory as a whole.
const PAGE: u32 = 200;

/// Its watches end when it is dropped.
pub struct ClusterDirectory {
    lists: Arc<Lists>,
    tasks: [AbortHandle; 4],
}

/// The table, and which lists it has.
struct Lists {
    table: DirectoryTable,
    pods: AtomicBool,
    services: AtomicBool,
    nodes: AtomicBool,
    service_ranges: AtomicBool,
}

/// What one kind of object changes in the table.
trait WatchedKind: Default + Send + 'static {
    type Object: Clone + DeserializeOwned + std::fmt::Debug + Send + kube::Resource<DynamicType = ApiResource> + 'static;

    /// A part of a list that is not complete yet.
    fn collect(&mut self, object: &Self::Object);
    /// The list is complete and replaces what was known; `is_first_list`: nothing was.
    fn replace(&mut self, table: &DirectoryTable, is_first_list: bool);
    fn put(&self, object: &Self::Object, table: &DirectoryTable);
    fn remove(&self, object: &Self::Object, table: &DirectoryTable);
}

#[derive(Default)]
struct WatchedPods(Vec<NodePod>);
#[derive(Default)]
struct WatchedServices(Vec<PublishedService>);
#[derive(Default)]
struct WatchedNodes(Vec<NodeAddresses>);
#[derive(Default)]
struct WatchedServiceCidrs(BTreeMap<String, Vec<IpNet>>);

impl ClusterDirectory {
    /// Starts the watches; `here` is this node's name. Pods and nodes are given to `policies`, too.
    pub fn follow(client: &Client, here: &str, policies: &Arc<Mutex<PolicyIndex>>) -> Self {
        let lists = Arc::new(Lists {
            table: DirectoryTable::with_policies(here, policies),
            pods: AtomicBool::new(false),
            services: AtomicBool::new(false),
            nodes: AtomicBool::new(false),
            service_ranges: AtomicBool::new(false),
        });
        let core = |kind, plural| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
        let cidrs = GroupVersionKind::gvk("networking.k8s.io", "v1", "ServiceCIDR");
        let cidrs = ApiResource::from_gvk_with_plural(&cidrs, "servicecidrs");
        let pods = follow(client, core("Pod", "pods"), WatchedPods::default(), &lists, |lists| &lists.pods);
        let services =
            follow(client, core("Service", "services"), WatchedServices::default(), &lists, |lists| &lists.services);
        let nodes = follow(client, core("Node", "nodes"), WatchedNodes::default(), &lists, |lists| &lists.nodes);
        let ranges = follow(client, cidrs, WatchedServiceCidrs::default(), &lists, |lists| &lists.service_ranges);
        Self { lists, tasks: [pods, services, nodes, ranges] }
    }
}

impl Drop for ClusterDirectory {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Directory for ClusterDirectory {
    fn owner(&self, transport: Transport, address: SocketAddr, is_local: bool) -> ConnectionEnd {
        self.lists.table.owner(transport, address, is_local)
    }

    fn declares(&self, transport: Transport, address: SocketAddr) -> bool {
        self.lists.table.declares(transport, address)
    }

    fn is_in_cluster(&self, address: IpAddr) -> bool {
        self.lists.table.is_in_cluster(address)
    }

    fn visit_pods(&self, visit: &mut dyn FnMut(&Endpoint)) {
        self.lists.table.visit_pods(visit);
    }

    fn is_complete(&self) -> bool {
        let Lists { pods, services, nodes, service_ranges, .. } = &*self.lists;
        [pods, services, nodes, service_ranges].into_iter().all(|list| list.load(Relaxed))
    }
}

/// Follows one kind; `list` becomes true once it was listed, or refused.
fn follow<K: WatchedKind>(
    client: &Client,
    resource: ApiResource,
    mut watched: K,
    lists: &Arc<Lists>,
    list: fn(&Lists) -> &AtomicBool,
) -> AbortHandle {
    let lists = lists.clone();
    let objects: Api<K::Object> = Api::all_with(client.clone(), &resource);
    let task = async move {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = pin!(watcher(objects, config).backoff(trilobite_backoff::watch_backoff()));
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => apply(event, &mut watched, &lists.table, list(&lists)),
                Err(error) => {
                    let what = &resource.plural;
                    tracing::warn!(%error, "{what} cannot be watched; flows show addresses in place of their names");
                    if is_refusal(&error) {
                        list(&lists).store(true, Relaxed);
                    }
                }
            }
        }
    };
    tokio::spawn(task).abort_handle()
}

/// A list is collected and replaces the table once it is complete, however often it has to be restarted; until then the old
/// entries are answered.
fn apply<K: WatchedKind>(
    event: watcher::Event<K::Object>,
    watched: &mut K,
    table: &DirectoryTable,
    is_listed: &AtomicBool,
) {
    match event {
        watcher::Event::Init => *watched = K::default(),
        watcher::Event::InitApply(object) => watched.collect(&object),
        watcher::Event::InitDone => {
            watched.replace(table, !is_listed.load(Relaxed));
            *watched = K::default();
            is_listed.store(true, Relaxed);
        }
        watcher::Event::Apply(object) => watched.put(&object, table),
        watcher::Event::Delete(object) => watched.remove(&object, table),
    }
}

/// The agent's role does not allow it, or the API server does not have the kind: there is no list to wait for.
fn is_refusal(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 403 | 404),
        _ => false,
    }
}

impl WatchedKind for WatchedPods {
    type Object = PodObject;

    fn collect(&mut self, object: &PodObject) {
        warn_unreadable(object);
        self.0.extend(objects::pod_of(object));
    }

    fn replace(&mut self, table: &DirectoryTable, is_first_list: bool) {
        table.replace_pods(&self.0, is_first_list);
    }

    fn put(&self, object: &PodObject, table: &DirectoryTable) {
        warn_unreadable(object);
        match objects::pod_of(object) {
            Some(pod) => table.put_pod(&pod),
            None => self.remove(object, table),
        }
    }

    fn remove(&self, object: &PodObject, table: &DirectoryTable) {
        table.remove_pod(object.metadata.uid.as_deref().unwrap_or_default());
    }
}

impl WatchedKind for WatchedServices {
    type Object = ServiceObject;

    fn collect(&mut self, object: &ServiceObject) {
        warn_unreadable(object);
        self.0.push(objects::service_of(object));
    }

    fn replace(&mut self, table: &DirectoryTable, is_first_list: bool) {
        table.replace_services(std::mem::take(&mut self.0), is_first_list);
    }

    fn put(&self, object: &ServiceObject, table: &DirectoryTable) {
        warn_unreadable(object);
        table.put_service(objects::service_of(object));
    }

    fn remove(&self, object: &ServiceObject, table: &DirectoryTable) {
        let service = objects::service_of(object).service;
        table.remove_service(&service.namespace, &service.name);
    }
}

impl WatchedKind for WatchedNodes {
    type Object = NodeObject;

    fn collect(&mut self, object: &NodeObject) {
        warn_unreadable(object);
        self.0.push(objects::node_of(object));
    }

    fn replace(&mut self, table: &DirectoryTable, _: bool) {
        table.replace_nodes(std::mem::take(&mut self.0));
    }

    fn put(&self, object: &NodeObject, table: &DirectoryTable) {
        warn_unreadable(object);
        table.put_node(objects::node_of(object));
    }

    fn remove(&self, object: &NodeObject, table: &DirectoryTable) {
        table.remove_node(&objects::node_of(object).name);
    }
}

impl WatchedKind for WatchedServiceCidrs {
    type Object = ServiceCidrObject;

    fn collect(&mut self, object: &ServiceCidrObject) {
        self.0.extend([objects::service_cidr_of(object)]);
    }

    fn replace(&mut self, table: &DirectoryTable, _: bool) {
        table.replace_service_ranges(std::mem::take(&mut self.0));
    }

    fn put(&self, object: &ServiceCidrObject, table: &DirectoryTable) {
        let (name, ranges) = objects::service_cidr_of(object);
        table.set_service_ranges(&name, ranges);
    }

    fn remove(&self, object: &ServiceCidrObject, table: &DirectoryTable) {
        table.set_service_ranges(&objects::service_cidr_of(object).0, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use watcher::Event;

    use super::{super::objects::tests::pod, *};

    #[test]
    fn restarted_list_replaces_the_table_when_complete() {
        let (table, mut watched, is_listed) =
            (DirectoryTable::new("n1"), WatchedPods::default(), AtomicBool::new(false));
        let mut on = |event| {
            apply(event, &mut watched, &table, &is_listed);
            let owner = table.owner(Transport::Tcp, "10.2.0.9:80".parse().unwrap(), false).endpoint;
            (is_listed.load(Relaxed), owner.map(|owner| owner.owner.pod.clone()))
        };
        let cart = || Some("cart-5d9f-x2".to_owned());
        assert_eq!(on(Event::Init), (false, None));
        assert_eq!(on(Event::InitApply(pod("Running"))), (false, None));
        assert_eq!(on(Event::InitDone), (true, cart()));
        for event in [Event::Init, Event::Init, Event::InitApply(pod("Succeeded"))] {
            assert_eq!(on(event), (true, cart()));
        }
        assert_eq!(on(Event::InitDone), (true, None));
    }

    #[test]
    fn refused_list_is_not_waited_for() {
        let refused = |code| {
            let status = kube::core::Status::failure("no", "No").with_code(code);
            is_refusal(&watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())))
        };
        assert_eq!([403, 404, 500].map(refused), [true, true, false]);
    }
}
