//! `observer.Observer`. Agent and debug events are Cilium's own: these methods answer UNIMPLEMENTED.

use std::pin::Pin;

use futures::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response, Status};
use trilobite_api::{
    observer::{self as api, observer_server::Observer},
    read_scope::{COMPLETE_SINCE, ReadScope},
    relay::NodeState,
};

use super::{flow_stream::FlowStream, node_info::NodeInfo, visible::is_visible};
use crate::{
    layers::network::history::FlowBuffer,
    loss::Ledger,
    serve::{read_rows::ReadRows, scope::read_scope},
};

pub(super) struct ObserverService {
    pub(super) history: FlowBuffer,
    pub(super) ledger: Ledger,
    pub(super) info: NodeInfo,
    pub(super) rows: ReadRows,
}

/// The rate of flows is that of the last minute.
const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

type Flows = Pin<Box<dyn Stream<Item = Result<api::GetFlowsResponse, Status>> + Send>>;

impl ObserverService {
    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.info.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Flows in the buffer, and since the start. Of what is no longer in the buffer the namespaces are unknown, so a scope
    /// counts the buffer alone.
    fn counts(&self, scope: &ReadScope) -> (u64, u64) {
        if scope.is_everything() {
            return (self.history.len() as u64, self.history.seen());
        }
        let flows = self.history.read(self.history.range().0, usize::MAX).flows;
        let visible = flows.iter().filter(|flow| is_visible(flow, scope)).count() as u64;
        (visible, visible)
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate needs no precision")]
    fn rate(&self, scope: &ReadScope, now: Timestamp) -> f64 {
        let (oldest, head) = self.history.range();
        let flows = self.history.read(oldest, usize::MAX).flows;
        let from = now.checked_sub(RATE_WINDOW).unwrap_or(now);
        let recent = &flows[flows.partition_point(|flow| flow.time < from)..];
        // If the history is shorter than a minute, the rate is over its length.
        let whole = recent.len() == flows.len() && head > flows.len() as u64;
        let begin = flows.first().filter(|_| whole).map_or(from, |flow| flow.time);
        let seconds = now.duration_since(begin).as_secs_f64().min(self.info.started.elapsed().as_secs_f64());
        let visible = recent.iter().filter(|flow| is_visible(flow, scope)).count();
        if seconds > 0.0 { visible as f64 / seconds } else { 0.0 }
    }
}

fn unimplemented<T>(method: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("observer.Observer/{method} is not served by this agent")))
}

#[tonic::async_trait]
impl Observer for ObserverService {
    type GetFlowsStream = Flows;
    type GetAgentEventsStream = Pin<Box<dyn Stream<Item = Result<api::GetAgentEventsResponse, Status>> + Send>>;
    type GetDebugEventsStream = Pin<Box<dyn Stream<Item = Result<api::GetDebugEventsResponse, Status>> + Send>>;

    async fn get_flows(&self, request: Request<api::GetFlowsRequest>) -> Result<Response<Flows>, Status> {
        let scope = read_scope(&request)?;
        let flows = FlowStream::new(
            request.into_inner(),
            self.history.clone(),
            self.ledger.clone(),
            self.info.node.clone(),
            scope,
            self.rows.clone(),
        );
        let flows = flows.map_err(|status| *status)?;
        let flows = stream::unfold(flows, async |mut flows| Some((Ok(flows.next().await?), flows)));
        let mut response = Response::new(Box::pin(flows) as Flows);
        if let Some(since) = self.history.complete_since()
            && let Ok(nanoseconds) = since.as_nanosecond().to_string().parse()
        {
            response.metadata_mut().insert(COMPLETE_SINCE, nanoseconds);
        }
        Ok(response)
    }

    async fn get_agent_events(
        &self,
        _: Request<api::GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        unimplemented("GetAgentEvents")
    }

    async fn get_debug_events(
        &self,
        _: Request<api::GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        unimplemented("GetDebugEvents")
    }

    async fn get_nodes(
        &self,
        request: Request<api::GetNodesRequest>,
    ) -> Result<Response<api::GetNodesResponse>, Status> {
        let (num_flows, seen_flows) = self.counts(&read_scope(&request)?);
        let node = api::Node {
            name: self.info.node.clone(),
            version: self.info.version.clone(),
            address: self.info.address.clone(),
            state: NodeState::NodeConnected.into(),
            tls: None,
            uptime_ns: self.uptime_ns(),
            num_flows,
            max_flows: self.history.capacity() as u64,
            seen_flows,
        };
        Ok(Response::new(api::GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        request: Request<api::GetNamespacesRequest>,
    ) -> Result<Response<api::GetNamespacesResponse>, Status> {
        let scope = read_scope(&request)?;
        let namespaces = self.history.namespaces(Timestamp::now()).into_iter().filter(|name| scope.allows(name));
        let namespaces = namespaces.map(|namespace| api::Namespace { cluster: String::new(), namespace }).collect();
        Ok(Response::new(api::GetNamespacesResponse { namespaces }))
    }

    async fn server_status(
        &self,
        request: Request<api::ServerStatusRequest>,
    ) -> Result<Response<api::ServerStatusResponse>, Status> {
        let scope = read_scope(&request)?;
        let (num_flows, seen_flows) = self.counts(&scope);
        Ok(Response::new(api::ServerStatusResponse {
            num_flows,
            max_flows: self.history.capacity() as u64,
            seen_flows,
            uptime_ns: self.uptime_ns(),
            version: self.info.version.clone(),
            flows_rate: self.rate(&scope, Timestamp::now()),
            ..api::ServerStatusResponse::default()
        }))
    }
}
