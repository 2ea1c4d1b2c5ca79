//! `observer.Observer` over all nodes. Agent and debug events are Cilium's own: these methods answer UNIMPLEMENTED.

use std::sync::Arc;

use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use trilobite_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse,
    ServerStatusRequest, ServerStatusResponse, observer_server::Observer,
};

use super::{
    call::FlowCall,
    follow::read_following,
    grant::{grant, grpc_status},
    past::read_past,
    status::{namespaces, nodes, server_status},
};
use crate::serve::App;

pub(super) struct RelayObserver {
    pub(super) app: Arc<App>,
}

type Streamed<T> = BoxStream<'static, Result<T, Status>>;

fn unimplemented<T>(method: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("observer.Observer/{method} is not served by this relay")))
}

#[tonic::async_trait]
impl Observer for RelayObserver {
    type GetFlowsStream = Streamed<GetFlowsResponse>;
    type GetAgentEventsStream = Streamed<GetAgentEventsResponse>;
    type GetDebugEventsStream = Streamed<GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        let grant = grant(&request)?;
        let call = FlowCall::new(&self.app.reader, grant, request.into_inner())?;
        let slots = if call.request.follow { &self.app.watches } else { &self.app.lists };
        let slot = slots.acquire(&call.grant.tenant).map_err(|error| grpc_status(&error))?;
        let flows = match call.request.follow {
            true => read_following(call, slot).await?,
            false => read_past(call, slot).await?,
        };
        Ok(Response::new(flows))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        unimplemented("GetAgentEvents")
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        unimplemented("GetDebugEvents")
    }

    async fn get_nodes(&self, request: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let grant = grant(&request)?;
        Ok(Response::new(nodes(&self.app.reader.pool, &grant.scope).await))
    }

    async fn get_namespaces(
        &self,
        request: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let grant = grant(&request)?;
        Ok(Response::new(namespaces(&self.app.reader.pool, &grant.scope).await))
    }

    async fn server_status(
        &self,
        request: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let grant = grant(&request)?;
        Ok(Response::new(server_status(&self.app.reader.pool, &grant.scope).await))
    }
}
