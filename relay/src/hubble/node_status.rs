//! Messages about nodes in a stream of flows: which have joined it, and which have not or no longer.

use std::collections::BTreeMap;

use trilobite_api::{
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
    relay::{NodeState, NodeStatusEvent},
};
use trilobite_crds::read_api::RELAY;
use trilobite_untrusted_text::prefix;

use crate::resources::stream_item::{now_nanoseconds, timestamp};

/// Bytes of the text of one message.
const MAX_TEXT: usize = 512;

/// The latest change of each node that the client has not read yet.
#[derive(Debug, Default)]
pub(super) struct NodeChanges {
    nodes: BTreeMap<String, (NodeState, String)>,
}

impl NodeChanges {
    pub(super) fn record(&mut self, node: &str, state: NodeState, text: &str) {
        self.nodes.insert(node.to_owned(), (state, prefix(text, MAX_TEXT).to_owned()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A message for all nodes of the same state and text, those that have joined first.
    pub(super) fn drain(&mut self) -> Vec<GetFlowsResponse> {
        let mut changes: BTreeMap<(i32, String), Vec<String>> = BTreeMap::new();
        for (node, (state, text)) in std::mem::take(&mut self.nodes) {
            changes.entry((state.into(), text)).or_default().push(node);
        }
        changes.into_iter().map(|((state, text), nodes)| message(state, nodes, text)).collect()
    }
}

fn message(state_change: i32, node_names: Vec<String>, message: String) -> GetFlowsResponse {
    GetFlowsResponse {
        node_name: RELAY.to_owned(),
        time: Some(timestamp(now_nanoseconds())),
        response_types: Some(ResponseTypes::NodeStatus(NodeStatusEvent { state_change, node_names, message })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_state_share_a_message_and_the_latest_state_counts() {
        let mut changes = NodeChanges::default();
        changes.record("cedar", NodeState::NodeUnavailable, "no answer");
        changes.record("birch", NodeState::NodeConnected, "");
        changes.record("alder", NodeState::NodeUnavailable, "no answer");
        changes.record("alder", NodeState::NodeConnected, "");
        let statuses: Vec<_> = changes
            .drain()
            .into_iter()
            .map(|message| match message.response_types {
                Some(ResponseTypes::NodeStatus(status)) => (status.state_change(), status.node_names, status.message),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            statuses,
            [
                (NodeState::NodeConnected, vec!["alder".into(), "birch".into()], String::new()),
                (NodeState::NodeUnavailable, vec!["cedar".into()], "no answer".into()),
            ]
        );
        assert!(changes.is_empty() && changes.drain().is_empty());
    }
}
