//! All nodes behind one port: the services that `hubble` and `tetra` call, each of whose answers is made of those of every
//! agent. What only one node could answer is UNIMPLEMENTED; `trilobite tunnel NODE` leads to it.

use std::collections::BTreeSet;

use futures::{StreamExt, future::join_all, stream};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tonic_health::ServingStatus;
use trilobite_api::{
    observer::{
        self, GetFlowsRequest, GetFlowsResponse,
        observer_client::ObserverClient,
        observer_server::{Observer, ObserverServer},
    },
    tetragon::{
        self, GetEventsRequest, GetEventsResponse,
        fine_guidance_sensors_client::FineGuidanceSensorsClient,
        fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer},
    },
};

use super::merged::{MergedStream, as_status, collected, merged};
use crate::{
    agent::{Agent, Transport, within_timeout},
    commands::{agents::connect, observe::latest},
};

/// The name under which `hubble status` asks for health.
const HUBBLE_HEALTH: &str = "hubble.server.Observer";

/// Serves until the listener fails.
pub(super) async fn serve(listener: TcpListener, transport: &Transport) -> Result<(), tonic::transport::Error> {
    let gateway = Gateway { transport: transport.clone() };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(HUBBLE_HEALTH, ServingStatus::Serving).await;
    Server::builder()
        .add_service(health)
        .add_service(ObserverServer::new(gateway.clone()))
        .add_service(FineGuidanceSensorsServer::new(gateway))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
}

#[derive(Clone)]
struct Gateway {
    transport: Transport,
}

impl Gateway {
    async fn agents(&self) -> Result<Vec<Agent>, Status> {
        connect(&self.transport, None).await.map_err(as_status)
    }

    /// The answers of the agents that answer, at least one.
    async fn ask_all<T, A>(&self, ask: impl Fn(Agent) -> A) -> Result<Vec<T>, Status>
    where
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let agents = self.agents().await?;
        let answers = join_all(agents.into_iter().map(|agent| within_timeout(ask(agent)))).await;
        let mut refusal = None;
        let mut found = Vec::new();
        for answer in answers {
            match answer {
                Ok(answer) => found.push(answer.into_inner()),
                Err(status) => refusal = Some(status),
            }
        }
        match refusal {
            Some(status) if found.is_empty() => Err(status),
            _ => Ok(found),
        }
    }
}

fn unimplemented<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not served for all nodes at once; 'trilobite tunnel NODE' leads to one agent"))
}

#[tonic::async_trait]
impl Observer for Gateway {
    type GetFlowsStream = MergedStream<GetFlowsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        let request = request.into_inner();
        let (follow, first, number) = (request.follow, request.first, request.number);
        let open = |request: GetFlowsRequest| {
            move |channel| {
                let request = request.clone();
                async move { ObserverClient::new(channel).get_flows(request).await }
            }
        };
        // A reopened stream must not repeat the latest flows.
        let reopen = open(GetFlowsRequest { number: 0, since: None, ..request.clone() });
        let flows = merged(&self.transport, "GetFlows", follow, open(request), reopen).await?;
        if follow {
            return Ok(Response::new(flows));
        }
        // Each agent has sent as many as were asked for: of all together, these are the first or the latest ones.
        let mut found = latest(collected(flows).await?, if first { 0 } else { number });
        if first && number > 0 {
            found.truncate(usize::try_from(number).unwrap_or(usize::MAX));
        }
        Ok(Response::new(stream::iter(found.into_iter().map(Ok)).boxed()))
    }

    async fn get_nodes(
        &self,
        _: Request<observer::GetNodesRequest>,
    ) -> Result<Response<observer::GetNodesResponse>, Status> {
        let ask = |agent: Agent| async move {
            ObserverClient::new(agent.channel).get_nodes(observer::GetNodesRequest {}).await
        };
        let nodes = self.ask_all(ask).await?.into_iter().flat_map(|answer| answer.nodes).collect();
        Ok(Response::new(observer::GetNodesResponse { nodes }))
    }

    async fn get_namespaces(
        &self,
        _: Request<observer::GetNamespacesRequest>,
    ) -> Result<Response<observer::GetNamespacesResponse>, Status> {
        let ask = |agent: Agent| async move {
            ObserverClient::new(agent.channel).get_namespaces(observer::GetNamespacesRequest {}).await
        };
        let answers = self.ask_all(ask).await?;
        let all = answers.into_iter().flat_map(|answer| answer.namespaces);
        let distinct: BTreeSet<(String, String)> = all.map(|one| (one.cluster, one.namespace)).collect();
        let namespaces =
            distinct.into_iter().map(|(cluster, namespace)| observer::Namespace { cluster, namespace }).collect();
        Ok(Response::new(observer::GetNamespacesResponse { namespaces }))
    }

    async fn server_status(
        &self,
        _: Request<observer::ServerStatusRequest>,
    ) -> Result<Response<observer::ServerStatusResponse>, Status> {
        let ask = |agent: Agent| async move {
            ObserverClient::new(agent.channel).server_status(observer::ServerStatusRequest {}).await
        };
        let answers = self.ask_all(ask).await?;
        let known = self.transport.addresses(None).await;
        let known = known.map_or(answers.len(), |(running, absent)| running.len() + absent.len());
        let count = |nodes: usize| Some(u32::try_from(nodes).unwrap_or(u32::MAX));
        let (connected, unavailable) = (count(answers.len()), count(known.saturating_sub(answers.len())));
        let sum = answers.into_iter().fold(observer::ServerStatusResponse::default(), |sum, node| {
            observer::ServerStatusResponse {
                num_flows: sum.num_flows.saturating_add(node.num_flows),
                max_flows: sum.max_flows.saturating_add(node.max_flows),
                seen_flows: sum.seen_flows.saturating_add(node.seen_flows),
                uptime_ns: sum.uptime_ns.max(node.uptime_ns),
                flows_rate: sum.flows_rate + node.flows_rate,
                version: node.version,
                ..sum
            }
        });
        let status = observer::ServerStatusResponse {
            num_connected_nodes: connected,
            num_unavailable_nodes: unavailable,
            ..sum
        };
        Ok(Response::new(status))
    }

    trilobite_api::unserved_observer_methods!(unimplemented());
}

#[tonic::async_trait]
impl FineGuidanceSensors for Gateway {
    type GetEventsStream = MergedStream<GetEventsResponse>;

    async fn get_events(&self, request: Request<GetEventsRequest>) -> Result<Response<Self::GetEventsStream>, Status> {
        let request = request.into_inner();
        let open = move |channel| {
            let request = request.clone();
            async move { FineGuidanceSensorsClient::new(channel).get_events(request).await }
        };
        Ok(Response::new(merged(&self.transport, "GetEvents", true, open.clone(), open).await?))
    }

    /// Of the first agent that has a problem, or else of any.
    async fn get_health(
        &self,
        request: Request<tetragon::GetHealthStatusRequest>,
    ) -> Result<Response<tetragon::GetHealthStatusResponse>, Status> {
        let request = request.into_inner();
        let ask = |agent: Agent| {
            let request = request.clone();
            async move { FineGuidanceSensorsClient::new(agent.channel).get_health(request).await }
        };
        let running = i32::from(tetragon::HealthStatusResult::HealthStatusRunning);
        let answers = self.ask_all(ask).await?;
        let sick = |answer: &tetragon::GetHealthStatusResponse| {
            answer.health_status.iter().any(|status| status.status != running)
        };
        let at = answers.iter().position(sick).unwrap_or(0);
        answers.into_iter().nth(at).map(Response::new).ok_or_else(|| Status::unavailable("no agent answers"))
    }

    async fn get_version(
        &self,
        _: Request<tetragon::GetVersionRequest>,
    ) -> Result<Response<tetragon::GetVersionResponse>, Status> {
        let ask = |agent: Agent| async move {
            FineGuidanceSensorsClient::new(agent.channel).get_version(tetragon::GetVersionRequest {}).await
        };
        let versions: BTreeSet<String> = self.ask_all(ask).await?.into_iter().map(|answer| answer.version).collect();
        let version = versions.into_iter().collect::<Vec<_>>().join(", ");
        Ok(Response::new(tetragon::GetVersionResponse { version }))
    }

    trilobite_api::unserved_tetragon_methods!(unimplemented());
}
