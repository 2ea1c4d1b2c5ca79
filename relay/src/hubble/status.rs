//! What all nodes say of themselves, in one answer.

use std::collections::BTreeSet;

use trilobite_api::{
    observer::{
        GetNamespacesRequest, GetNamespacesResponse, GetNodesResponse, Namespace, Node, ServerStatusRequest,
        ServerStatusResponse, Tls, observer_client::ObserverClient,
    },
    read_scope::ReadScope,
    relay::NodeState,
};
use trilobite_crds::read_api::node_name;

use super::open_nodes::open_nodes;
use crate::{
    agents::AgentPool,
    resources::{follow::call, node_failure::NodeFailure, stream_query::scoped},
};

/// Nodes that are named; their number is complete.
const MAX_UNAVAILABLE: usize = 10;

type Answers = Vec<(String, Result<ServerStatusResponse, NodeFailure>)>;

async fn ask_all(pool: &AgentPool, scope: &ReadScope) -> Answers {
    let nodes = pool.addresses().borrow().keys().cloned().collect();
    open_nodes(nodes, |node| async move {
        let asked = call(pool, &node, |connected| async move {
            let request = scoped(ServerStatusRequest {}, scope)?;
            ObserverClient::new(connected.channel).server_status(request).await
        });
        Ok(asked.await?.1.into_inner())
    })
    .await
}

pub(super) async fn server_status(pool: &AgentPool, scope: &ReadScope) -> ServerStatusResponse {
    sum(&ask_all(pool, scope).await)
}

/// The uptime is that of the agent that has run the longest: a sum of them would say nothing.
fn sum(answers: &Answers) -> ServerStatusResponse {
    let mut sum = ServerStatusResponse { version: version(), ..ServerStatusResponse::default() };
    let (mut connected, mut unavailable) = (0, 0);
    for (node, answer) in answers {
        match answer {
            Ok(answer) => {
                connected += 1;
                sum.num_flows += answer.num_flows;
                sum.max_flows += answer.max_flows;
                sum.seen_flows += answer.seen_flows;
                sum.uptime_ns = sum.uptime_ns.max(answer.uptime_ns);
                sum.flows_rate += answer.flows_rate;
            }
            Err(_) => {
                unavailable += 1;
                if sum.unavailable_nodes.len() < MAX_UNAVAILABLE {
                    sum.unavailable_nodes.push(node.clone());
                }
            }
        }
    }
    (sum.num_connected_nodes, sum.num_unavailable_nodes) = (Some(connected), Some(unavailable));
    sum
}

fn version() -> String {
    format!("trilobite-relay {}", env!("CARGO_PKG_VERSION"))
}

/// Addresses are for those alone who may read the whole cluster.
pub(super) async fn nodes(pool: &AgentPool, scope: &ReadScope) -> GetNodesResponse {
    let addresses = pool.addresses().borrow().clone();
    let shown = |node: &str| addresses.get(node).filter(|_| scope.is_everything()).map(ToString::to_string);
    let answers = ask_all(pool, scope).await.into_iter();
    let nodes = answers.map(|(name, answer)| {
        let address = shown(&name).unwrap_or_default();
        let tls = Some(Tls { enabled: true, server_name: node_name(&name, pool.namespace()) });
        match answer {
            Ok(status) => Node {
                name,
                version: status.version,
                address,
                state: NodeState::NodeConnected.into(),
                tls,
                uptime_ns: status.uptime_ns,
                num_flows: status.num_flows,
                max_flows: status.max_flows,
                seen_flows: status.seen_flows,
            },
            Err(_) => Node { name, address, state: NodeState::NodeUnavailable.into(), tls, ..Node::default() },
        }
    });
    GetNodesResponse { nodes: nodes.collect() }
}

/// A node that does not answer leaves its namespaces out.
pub(super) async fn namespaces(pool: &AgentPool, scope: &ReadScope) -> GetNamespacesResponse {
    let nodes = pool.addresses().borrow().keys().cloned().collect();
    let answers = open_nodes(nodes, |node| async move {
        let asked = call(pool, &node, |connected| async move {
            let request = scoped(GetNamespacesRequest {}, scope)?;
            ObserverClient::new(connected.channel).get_namespaces(request).await
        });
        Ok(asked.await?.1.into_inner().namespaces)
    })
    .await;
    let all: BTreeSet<(String, String)> = answers
        .into_iter()
        .filter_map(|(_, answer)| answer.ok())
        .flatten()
        .map(|namespace| (namespace.cluster, namespace.namespace))
        .collect();
    let namespaces = all.into_iter().map(|(cluster, namespace)| Namespace { cluster, namespace });
    GetNamespacesResponse { namespaces: namespaces.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::node_failure::Cause;

    #[test]
    fn flows_are_summed_and_the_longest_uptime_counts() {
        let of = |flows: u64, uptime_ns: u64| {
            Ok(ServerStatusResponse {
                num_flows: flows,
                max_flows: 100,
                seen_flows: 10 * flows,
                uptime_ns,
                flows_rate: 0.5,
                ..ServerStatusResponse::default()
            })
        };
        let away = || Err(NodeFailure::new(Cause::Late, "no answer"));
        let mut answers = vec![("alder".to_owned(), of(7, 3)), ("birch".to_owned(), of(5, 9))];
        answers.extend((0..12).map(|number| (format!("cedar-{number:02}"), away())));
        let sum = sum(&answers);
        assert_eq!((sum.num_flows, sum.max_flows, sum.seen_flows, sum.uptime_ns), (12, 200, 120, 9));
        assert_eq!((sum.num_connected_nodes, sum.num_unavailable_nodes), (Some(2), Some(12)));
        assert_eq!(sum.unavailable_nodes.len(), MAX_UNAVAILABLE);
        assert!((sum.flows_rate - 1.0).abs() < f64::EPSILON);
    }
}
