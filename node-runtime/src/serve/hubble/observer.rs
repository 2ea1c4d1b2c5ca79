//! `observer.Observer`. Agent and debug events are Cilium's own and answer UNIMPLEMENTED with the method's name.

use std::pin::Pin;

use futures::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response, Status};

use super::{About, reader::Reader};
use crate::{
    layers::network::history::History,
    report::Ledger,
    serve::proto::{
        observer::{self as api, observer_server::Observer},
        relay::NodeState,
    },
};

pub(super) struct Face {
    pub(super) history: History,
    pub(super) ledger: Ledger,
    pub(super) about: About,
}

/// Flows a second are those of the last minute.
const RATE_OVER: SignedDuration = SignedDuration::from_secs(60);

type Flows = Pin<Box<dyn Stream<Item = Result<api::GetFlowsResponse, Status>> + Send>>;

impl Face {
    fn uptime_ns(&self) -> u64 {
        u64::try_from(self.about.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate is for reading")]
    fn rate(&self, now: Timestamp) -> f64 {
        let (oldest, head) = self.history.range();
        let flows = self.history.read(oldest, usize::MAX).flows;
        let from = now.checked_sub(RATE_OVER).unwrap_or(now);
        let recent = flows.iter().rev().take_while(|flow| flow.time >= from).count();
        // A history that does not reach back a minute is counted over what it holds.
        let whole = recent == flows.len() && head > flows.len() as u64;
        let begin = flows.first().filter(|_| whole).map_or(from, |flow| flow.time);
        let seconds = now.duration_since(begin).as_secs_f64().min(self.about.started.elapsed().as_secs_f64());
        if seconds > 0.0 { recent as f64 / seconds } else { 0.0 }
    }
}

fn refused<T>(method: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("observer.Observer/{method} is not served by this agent")))
}

#[tonic::async_trait]
impl Observer for Face {
    type GetFlowsStream = Flows;
    type GetAgentEventsStream = Pin<Box<dyn Stream<Item = Result<api::GetAgentEventsResponse, Status>> + Send>>;
    type GetDebugEventsStream = Pin<Box<dyn Stream<Item = Result<api::GetDebugEventsResponse, Status>> + Send>>;

    async fn get_flows(&self, request: Request<api::GetFlowsRequest>) -> Result<Response<Flows>, Status> {
        let reader =
            Reader::new(request.into_inner(), self.history.clone(), self.ledger.clone(), self.about.node.clone());
        let reader = reader.map_err(|status| *status)?;
        let flows = stream::unfold(reader, async |mut reader| Some((Ok(reader.next().await?), reader)));
        Ok(Response::new(Box::pin(flows)))
    }

    async fn get_agent_events(
        &self,
        _: Request<api::GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        refused("GetAgentEvents")
    }

    async fn get_debug_events(
        &self,
        _: Request<api::GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        refused("GetDebugEvents")
    }

    async fn get_nodes(&self, _: Request<api::GetNodesRequest>) -> Result<Response<api::GetNodesResponse>, Status> {
        let node = api::Node {
            name: self.about.node.clone(),
            version: self.about.version.clone(),
            address: self.about.address.clone(),
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
            version: self.about.version.clone(),
            flows_rate: self.rate(Timestamp::now()),
            ..api::ServerStatusResponse::default()
        }))
    }
}
