//! Finds agents: the DaemonSet's pods with their nodes, or one socket.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{error::AgentError, stream::Route};
use crate::{args::ConnectionArgs, cluster, cluster::ClusterError};

/// Label of every agent's pod.
const LABEL: &str = "app.kubernetes.io/name=trilobite-node";
/// Name of the agent's container; without it, the first container is taken.
const CONTAINER: &str = "agent";
/// The agent's binary in its image, for a container without a command.
const PROGRAM: &str = "/trilobite-node";

/// How agents are reached.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Transport {
    /// By the API server of a cluster.
    Cluster {
        client: Client,
        /// Where Trilobite is installed.
        namespace: String,
    },
    /// By a socket of this machine.
    Socket(AgentAddress),
}

/// One agent and how to reach it.
#[derive(Clone)]
pub(crate) struct AgentAddress {
    /// The node's name, or the socket's path.
    pub(crate) name: String,
    pub(crate) route: Route,
    /// Advice to the user if it does not answer.
    pub(crate) next: String,
}

impl Transport {
    pub(crate) async fn new(connection: &ConnectionArgs) -> Result<Self, ClusterError> {
        Ok(match &connection.socket {
            Some(path) => Self::Socket(AgentAddress {
                name: path.display().to_string(),
                route: Route::Socket(path.clone()),
                next: "is an agent running there? (trilobite-node run -f FILE --socket PATH)".into(),
            }),
            None => Self::Cluster {
                client: cluster::client(connection).await?,
                namespace: connection.trilobite_namespace.clone(),
            },
        })
    }

    /// Namespace of the kubeconfig's context, for names that are given without one.
    pub(crate) fn default_namespace(&self) -> &str {
        match self {
            Self::Cluster { client, .. } => client.default_namespace(),
            Self::Socket(_) => "default",
        }
    }

    /// The agents that run, in the order of their nodes, and why others cannot be reached.
    /// With `node`, its agent or an error.
    pub(crate) async fn addresses(
        &self,
        node: Option<&str>,
    ) -> Result<(Vec<AgentAddress>, Vec<AgentError>), AgentError> {
        match self {
            Self::Socket(address) => Ok((vec![address.clone()], Vec::new())),
            Self::Cluster { client, namespace } => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
                let list = pods
                    .list(&ListParams::default().labels(LABEL))
                    .await
                    .map_err(|error| ClusterError::new(format!("list the agents in {namespace}"), "pods", error))?;
                let (ready, absent) = running_agents(&list.items, namespace, node)?;
                let address = |RunningAgent { node, pod, container, program }| AgentAddress {
                    next: format!("see 'kubectl -n {namespace} describe pod {pod}' and its logs"),
                    name: node,
                    route: Route::Exec { pods: pods.clone(), pod, container, program },
                };
                Ok((ready.into_iter().map(address).collect(), absent))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RunningAgent {
    node: String,
    pod: String,
    container: String,
    program: String,
}

/// The agents whose pods are Running, and an error for each other pod.
fn running_agents(
    pods: &[Pod],
    namespace: &str,
    node: Option<&str>,
) -> Result<(Vec<RunningAgent>, Vec<AgentError>), AgentError> {
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
            ready.push(RunningAgent {
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
    fn agents_are_sorted_by_node_and_a_pending_pod_is_an_error() {
        let pods = [agent("birch", "Running"), agent("cedar", "Pending"), agent("alder", "Running")];
        let (ready, absent) = running_agents(&pods, "fossils", None).unwrap();
        let nodes: Vec<&str> = ready.iter().map(|agent| agent.node.as_str()).collect();
        assert_eq!(nodes, ["alder", "birch"]);
        assert_eq!((ready[0].container.as_str(), ready[0].program.as_str()), ("agent", "/fossil"));
        assert_eq!(
            absent[0].to_string(),
            "node cedar: the agent's pod is Pending; see 'kubectl -n fossils describe pod trilobite-node-cedar'"
        );
    }

    #[test]
    fn error_for_a_node_without_agent_lists_other_nodes() {
        let error = running_agents(&[agent("alder", "Running")], "fossils", Some("oak")).err().unwrap();
        assert!(error.to_string().starts_with("node oak has no agent; these have: alder."), "{error}");
    }

    #[test]
    fn error_without_any_agent_names_the_namespace() {
        let error = running_agents(&[], "fossils", None).err().unwrap();
        assert!(error.to_string().starts_with("no pod of trilobite-node in namespace fossils;"), "{error}");
    }
}
