//! `observer.Observer`. Agent and debug events are Cilium's own: these methods answer UNIMPLEMENTED.

use std::pin::Pin;

use futures::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response, Status};
use trilobite_api::{
    observer::{self as api, observer_server::Observer},
    relay::NodeState,
};

use super::{flow_stream::FlowStream, node_info::NodeInfo};
use crate::{layers::network::history::FlowBuffer, loss::Ledger};

pub(super) struct ObserverService {
    pub(super) history: FlowBuffer,
    pub(super) ledger: Ledger,
    pub(super) info: NodeInfo,
}

/// The rate of flows is that of the last minute.
const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);

type Flows = Pin<Box<dyn Stream<Item = Result<api::GetFlowsResponse, Status>> + Send>>;

impl ObserverService {
    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.info.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate needs no precision")]
    fn rate(&self, now: Timestamp) -> f64 {
        let (oldest, head) = self.history.range();
        let flows = self.history.read(oldest, usize::MAX).flows;
        let from = now.checked_sub(RATE_WINDOW).unwrap_or(now);
        let recent = flows.iter().rev().take_while(|flow| flow.time >= from).count();
        // If the history is shorter than a minute, the rate is over its length.
        let whole = recent == flows.len() && head > flows.len() as u64;
        let begin = flows.first().filter(|_| whole).map_or(from, |flow| flow.time);
        let seconds = now.duration_since(begin).as_secs_f64().min(self.info.started.elapsed().as_secs_f64());
        if seconds > 0.0 { recent as f64 / seconds } else { 0.0 }
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
        let flows =
            FlowStream::new(request.into_inner(), self.history.clone(), self.ledger.clone(), self.info.node.clone());
        let flows = flows.map_err(|status| *status)?;
        let flows = stream::unfold(flows, async |mut flows| Some((Ok(flows.next().await?), flows)));
        Ok(Response::new(Box::pin(flows)))
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

    async fn get_nodes(&self, _: Request<api::GetNodesRequest>) -> Result<Response<api::GetNodesResponse>, Status> {
        let node = api::Node {
            name: self.info.node.clone(),
            version: self.info.version.clone(),
            address: self.info.address.clone(),
            state: NodeState::NodeConnected.into(),
            tls: None,
            uptime_ns: self.uptime_ns(),
            num_flows: self.history.len() as u64,
            max_flows: self.history.capacity() as u64,
            seen_flows: self.history.seen(),
        };
        Ok(Response::new(api::GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<api::GetNamespacesRequest>,
    ) -> Result<Response<api::GetNamespacesResponse>, Status> {
        let namespaces = self.history.namespaces(Timestamp::now());
        let namespaces =
            namespaces.into_iter().map(|namespace| api::Namespace { cluster: String::new(), namespace }).collect();
        Ok(Response::new(api::GetNamespacesResponse { namespaces }))
    }

    async fn server_status(
        &self,
        _: Request<api::ServerStatusRequest>,
    ) -> Result<Response<api::ServerStatusResponse>, Status> {
        Ok(Response::new(api::ServerStatusResponse {
            num_flows: self.history.len() as u64,
            max_flows: self.history.capacity() as u64,
            seen_flows: self.history.seen(),
            uptime_ns: self.uptime_ns(),
            version: self.info.version.clone(),
            flows_rate: self.rate(Timestamp::now()),
            ..api::ServerStatusResponse::default()
        }))
    }
}
