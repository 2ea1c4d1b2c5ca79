//! Reads what the status is made of. A kind that cannot be read does not end the command: it is named, with the right that
//! is missing.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    cluster::ClusterError,
    report::{ClusterObjects, Unread},
};

const OPERATOR: &str = "app.kubernetes.io/name=trilobite-operator";
const OPERATOR_AND_AGENTS: &str = "app.kubernetes.io/name in (trilobite-node,trilobite-operator)";
const CLUSTER: &str = "in the cluster";
/// Kinds of the group `trilobite.dev` that are read.
const OWN_KINDS: usize = 6;

/// Fails where the API server does not answer at all, or where nothing could be read.
pub(super) async fn read_cluster(client: &Client, namespace: &str) -> Result<ClusterObjects, ClusterError> {
    let operators = list(Api::<Deployment>::namespaced(client.clone(), namespace), OPERATOR);
    let pods = list(Api::<Pod>::namespaced(client.clone(), namespace), OPERATOR_AND_AGENTS);
    let (operators, pods, stacks, policies, namespaced_policies, captures, profiles, nodes) = tokio::join!(
        operators,
        pods,
        list_all(client),
        list_all(client),
        list_all(client),
        list_all(client),
        list_all(client),
        list_all(client),
    );
    let place = format!("in namespace {namespace}");
    let mut reading = ReadingLog::default();
    let found = ClusterObjects {
        operators: reading.keep(&place, operators)?,
        pods: reading.keep(&place, pods)?,
        stacks: reading.keep(CLUSTER, stacks)?,
        policies: reading.keep(CLUSTER, policies)?,
        namespaced_policies: reading.keep(CLUSTER, namespaced_policies)?,
        captures: reading.keep(CLUSTER, captures)?,
        profiles: reading.keep(CLUSTER, profiles)?,
        nodes: reading.keep(CLUSTER, nodes)?,
        unread: Vec::new(),
        namespace: namespace.into(),
        now: Timestamp::now(),
    };
    reading.finish(found)
}

async fn list_all<K>(client: &Client) -> Result<Vec<K>, ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    list(Api::all(client.clone()), "").await
}

async fn list<K>(api: Api<K>, labels: &str) -> Result<Vec<K>, ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let plural = K::plural(&());
    let params = if labels.is_empty() { ListParams::default() } else { ListParams::default().labels(labels) };
    let listed = api.list(&params).await;
    listed.map(|list| list.items).map_err(|error| ClusterError::new(format!("list {plural}"), &plural, error))
}

/// Collects what could not be read.
#[derive(Default)]
struct ReadingLog {
    unread: Vec<Unread>,
    read: usize,
    /// Kinds of Trilobite that the cluster does not know, and the first of them.
    unknown: usize,
    unknown_error: Option<ClusterError>,
    first_error: Option<ClusterError>,
}

impl ReadingLog {
    fn keep<K>(&mut self, place: &str, listed: Result<Vec<K>, ClusterError>) -> Result<Option<Vec<K>>, ClusterError>
    where
        K: Resource<DynamicType = ()>,
    {
        let group = K::group(&());
        let dot = if group.is_empty() { "" } else { "." };
        let what = format!("{}{dot}{group} {place}", K::plural(&()));
        let (message, next) = match &listed {
            Ok(_) => (String::new(), String::new()),
            Err(ClusterError::Forbidden { detail, .. }) => {
                (detail.clone(), format!("ask for a role with the right to list {what}"))
            }
            Err(ClusterError::NotInstalled { .. }) => (
                "the cluster does not know this kind".to_owned(),
                "install Trilobite's resource definitions: kubectl apply -k config/default".to_owned(),
            ),
            Err(ClusterError::Api { detail, .. }) => (detail.clone(), "try again".to_owned()),
            Err(_) => return listed.map(Some),
        };
        match listed {
            Ok(objects) => {
                self.read += 1;
                Ok(Some(objects))
            }
            Err(error) => {
                self.unread.push(Unread { what, message, next });
                match error {
                    ClusterError::NotInstalled { .. } => {
                        self.unknown += 1;
                        self.unknown_error = self.unknown_error.take().or(Some(error));
                    }
                    error => self.first_error = self.first_error.take().or(Some(error)),
                }
                Ok(None)
            }
        }
    }

    fn finish(self, found: ClusterObjects) -> Result<ClusterObjects, ClusterError> {
        match (self.unknown_error, self.first_error) {
            (Some(error), _) if self.unknown == OWN_KINDS => Err(error),
            (_, Some(error)) if self.read == 0 => Err(error),
            _ => Ok(ClusterObjects { unread: self.unread, ..found }),
        }
    }
}
