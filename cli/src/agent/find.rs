//! Which agents there are: the DaemonSet's pods with their nodes, or one socket.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{AgentError, exec::Way};
use crate::{args::WayArguments, cluster, cluster::ClusterError, failure::Failure};

/// Every pod of an agent has it.
const LABEL: &str = "app.kubernetes.io/name=trilobite-node";
/// The agent's container, where its pod has several.
const CONTAINER: &str = "agent";

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
                let place = |(node, pod, container): (String, String, Option<String>)| Place {
                    next: format!("see 'kubectl -n {namespace} describe pod {pod}' and its logs"),
                    name: node,
                    way: Way::Exec { pods: pods.clone(), pod, container },
                };
                Ok((ready.into_iter().map(place).collect(), absent))
            }
        }
    }
}

type Found = (String, String, Option<String>);

/// Node, pod and container of each agent that runs; an error for each that does not.
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
            let several = spec.containers.len() > 1;
            ready.push((on, pod.name_any(), several.then(|| CONTAINER.to_owned())));
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
                containers: vec![Container::default()],
                ..PodSpec::default()
            }),
            status: Some(PodStatus { phase: Some(phase.into()), ..PodStatus::default() }),
        }
    }

    #[test]
    fn agents_come_in_the_order_of_their_nodes_and_one_that_does_not_run_is_told() {
        let pods = [agent("birch", "Running"), agent("cedar", "Pending"), agent("alder", "Running")];
        let (ready, absent) = sort_out(&pods, "fossils", None).unwrap();
        let nodes: Vec<&str> = ready.iter().map(|(node, ..)| node.as_str()).collect();
        assert_eq!(nodes, ["alder", "birch"]);
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
