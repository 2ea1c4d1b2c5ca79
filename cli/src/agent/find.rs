//! Which agents there are: the DaemonSet's pods with their nodes, or one socket.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{AgentError, exec::Way};
use crate::{args::WayArguments, cluster, cluster::ClusterError, failure::Failure};

/// Every pod of an agent has it.
const LABEL: &str = "app.kubernetes.io/name=trilobite-node";
/// The agent's container; the first, where none is called so.
const CONTAINER: &str = "agent";
/// The agent in its image, where the container does not say.
const PROGRAM: &str = "/trilobite-node";

/// Where agents are looked for.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Reach {
    /// In a cluster.
    Cluster {
        client: Client,
        /// Where Trilobite is installed.
        namespace: String,
    },
    /// On a socket.
    Socket(Place),
}

/// One agent, and the way to it.
#[derive(Clone)]
pub(crate) struct Place {
    /// The node's name, or the socket's path.
    pub(crate) name: String,
    /// The way in.
    pub(crate) way: Way,
    /// What to do when it does not answer.
    pub(crate) next: String,
}

impl Reach {
    /// As the arguments say.
    pub(crate) async fn new(way: &WayArguments) -> Result<Self, ClusterError> {
        Ok(match &way.socket {
            Some(path) => Self::Socket(Place {
                name: path.display().to_string(),
                way: Way::Socket(path.clone()),
                next: "is an agent running there? (trilobite-node run -f FILE --socket PATH)".into(),
            }),
            None => Self::Cluster { client: cluster::client(way).await?, namespace: way.trilobite_namespace.clone() },
        })
    }

    /// The agents that can be asked, in the order of their nodes, and why others cannot.
    /// With `node`, that one or an error.
    pub(crate) async fn places(&self, node: Option<&str>) -> Result<(Vec<Place>, Vec<AgentError>), Failure> {
        match self {
            Self::Socket(place) => Ok((vec![place.clone()], Vec::new())),
            Self::Cluster { client, namespace } => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
                let list = pods
                    .list(&ListParams::default().labels(LABEL))
                    .await
                    .map_err(|error| ClusterError::new(format!("list the agents in {namespace}"), "pods", error))?;
                let (ready, absent) = sort_out(&list.items, namespace, node)?;
                let place = |Found { node, pod, container, program }| Place {
                    next: format!("see 'kubectl -n {namespace} describe pod {pod}' and its logs"),
                    name: node,
                    way: Way::Exec { pods: pods.clone(), pod, container, program },
                };
                Ok((ready.into_iter().map(place).collect(), absent))
            }
        }
    }
}

/// An agent's pod that runs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    node: String,
    pod: String,
    container: String,
    program: String,
}

/// Each agent that runs; an error for each that does not.
fn sort_out(pods: &[Pod], namespace: &str, node: Option<&str>) -> Result<(Vec<Found>, Vec<AgentError>), AgentError> {
    let mut ready = Vec::new();
    let mut absent = Vec::new();
    let mut others = Vec::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Some(spec) = &pod.spec else { continue };
        let on = spec.node_name.clone().unwrap_or_default();
        if node.is_some_and(|wanted| wanted != on) {
            others.push(on);
            continue;
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_else(|| "Unknown".into());
        if phase == "Running" {
            let container = spec.containers.iter().find(|one| one.name == CONTAINER).or(spec.containers.first());
            let program = container.and_then(|container| container.command.as_ref()?.first());
            ready.push(Found {
                node: on,
                pod: pod.name_any(),
                container: container.map_or_else(|| CONTAINER.into(), |container| container.name.clone()),
                program: program.map_or_else(|| PROGRAM.into(), String::clone),
            });
        } else {
            let namespace = namespace.to_owned();
            absent.push(AgentError::NotRunning { node: on, namespace, pod: pod.name_any(), phase });
        }
    }
    ready.sort();
    match (node, ready.is_empty(), absent.pop()) {
        (Some(node), true, None) if !others.is_empty() => {
            others.sort();
            Err(AgentError::NoSuchNode { node: node.into(), others: others.join(", ") })
        }
        (_, true, None) => Err(AgentError::NoAgents { namespace: namespace.into() }),
        (_, true, Some(last)) if absent.is_empty() => Err(last),
        (_, _, last) => {
            absent.extend(last);
            Ok((ready, absent))
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{Container, PodSpec, PodStatus},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;

    fn agent(node: &str, phase: &str) -> Pod {
        Pod {
            metadata: ObjectMeta { name: Some(format!("trilobite-node-{node}")), ..ObjectMeta::default() },
            spec: Some(PodSpec {
                node_name: Some(node.into()),
                containers: vec![
                    Container { name: "sidecar".into(), ..Container::default() },
                    Container { name: "agent".into(), command: Some(vec!["/fossil".into()]), ..Container::default() },
                ],
                ..PodSpec::default()
            }),
            status: Some(PodStatus { phase: Some(phase.into()), ..PodStatus::default() }),
        }
    }

    #[test]
    fn agents_come_in_the_order_of_their_nodes_and_one_that_does_not_run_is_told() {
        let pods = [agent("birch", "Running"), agent("cedar", "Pending"), agent("alder", "Running")];
        let (ready, absent) = sort_out(&pods, "fossils", None).unwrap();
        let nodes: Vec<&str> = ready.iter().map(|found| found.node.as_str()).collect();
        assert_eq!(nodes, ["alder", "birch"]);
        assert_eq!((ready[0].container.as_str(), ready[0].program.as_str()), ("agent", "/fossil"));
        assert_eq!(
            absent[0].to_string(),
            "node cedar: the agent's pod is Pending; see 'kubectl -n fossils describe pod trilobite-node-cedar'"
        );
    }

    #[test]
    fn a_node_without_an_agent_is_told_where_agents_are() {
        let error = sort_out(&[agent("alder", "Running")], "fossils", Some("oak")).err().unwrap();
        assert!(error.to_string().starts_with("node oak has no agent; these have: alder."), "{error}");
    }

    #[test]
    fn no_agents_at_all_names_the_namespace() {
        let error = sort_out(&[], "fossils", None).err().unwrap();
        assert!(error.to_string().starts_with("no pod of trilobite-node in namespace fossils;"), "{error}");
    }
}
