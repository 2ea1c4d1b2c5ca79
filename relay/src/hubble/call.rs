//! What one call of GetFlows needs: its request, its grant, and the agents.

use std::sync::Arc;

use tonic::{Request, Status, Streaming};
use trilobite_api::{
    observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes, observer_client::ObserverClient},
    relay::NodeState,
};

use super::grant::Grant;
use crate::{
    agents::Connected,
    metrics::RowMetrics,
    resources::{
        follow::call,
        node_failure::{Cause, NodeFailure},
        stream_item::nanoseconds,
        stream_query::scoped,
        watch::Reader,
    },
};

/// More flows than any agent keeps: `--all` asks for 2^64 - 1.
const ALL: u64 = 1 << 32;

/// A stream of one agent, and the connection that it shares with others.
pub(super) type SharedStream = (Connected, Streaming<GetFlowsResponse>);

pub(super) struct FlowCall {
    pub(super) reader: Arc<Reader>,
    pub(super) grant: Grant,
    pub(super) request: GetFlowsRequest,
    pub(super) rows: RowMetrics,
}

impl FlowCall {
    pub(super) fn new(reader: &Arc<Reader>, grant: Grant, request: GetFlowsRequest) -> Result<Self, Status> {
        if request.first && request.follow {
            return Err(Status::invalid_argument("first cannot be combined with follow"));
        }
        let rows = reader.metrics.rows_of("flows");
        Ok(Self { reader: Arc::clone(reader), grant, request, rows })
    }

    /// How many of the newest flows are wanted; none if the range is given in another way. A time beats a number.
    pub(super) fn newest(&self) -> Option<usize> {
        let GetFlowsRequest { number, first, since, .. } = &self.request;
        let is_number = (1..ALL).contains(number) && !first && since.is_none();
        is_number.then(|| usize::try_from(*number).unwrap_or(usize::MAX))
    }

    /// How many flows end the stream.
    pub(super) fn limit(&self) -> Option<u64> {
        let GetFlowsRequest { number, follow, .. } = &self.request;
        (!follow && (1..ALL).contains(number)).then_some(*number)
    }

    /// The nodes that have an agent now.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.reader.pool.addresses().borrow().keys().cloned().collect()
    }

    /// The request of one agent, with the scope of the caller.
    pub(super) fn scoped(&self, request: GetFlowsRequest) -> Result<Request<GetFlowsRequest>, Status> {
        scoped(request, &self.grant.scope)
    }

    /// Asks an agent on the connection that all streams of its node share: it has to be read at once.
    pub(super) async fn open(&self, node: &str, request: GetFlowsRequest) -> Result<SharedStream, NodeFailure> {
        let request = self.scoped(request).map_err(|status| NodeFailure::from(&status))?;
        let ask = |connected: Connected| async move {
            Ok(ObserverClient::new(connected.channel).get_flows(request).await?.into_inner())
        };
        call(&self.reader.pool, node, ask).await
    }

    /// What the client reads of a failure: nodes' addresses and errors are for those alone who may read the whole cluster.
    pub(super) fn failure_text(&self, failure: &NodeFailure) -> String {
        if self.grant.scope.is_everything() { failure.detail.clone() } else { failure.cause.as_str().to_owned() }
    }

    /// The state and the text by which the client reads of a failure.
    pub(super) fn failed_state(&self, failure: &NodeFailure) -> (NodeState, String) {
        let state = match failure.cause {
            Cause::Unreachable | Cause::Late => NodeState::NodeUnavailable,
            Cause::Refused | Cause::OtherVersion | Cause::InvalidQuery => NodeState::NodeError,
        };
        (state, self.failure_text(failure))
    }
}

/// The error of a request that every node refuses, e.g. because of its filters.
pub(super) fn refused_by_all<'a>(nodes: usize, failures: impl Iterator<Item = &'a NodeFailure>) -> Option<Status> {
    let refused: Vec<_> = failures.filter(|failure| failure.cause == Cause::InvalidQuery).collect();
    let first = refused.first().filter(|_| refused.len() == nodes)?;
    Some(Status::invalid_argument(first.detail.clone()))
}

/// Nanoseconds since 1970 of a message.
pub(super) fn time_of(message: &GetFlowsResponse) -> u64 {
    nanoseconds(message.time.as_ref())
}

pub(super) fn is_flow(message: &GetFlowsResponse) -> bool {
    matches!(message.response_types, Some(ResponseTypes::Flow(_)))
}
