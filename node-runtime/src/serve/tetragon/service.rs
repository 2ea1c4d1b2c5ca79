//! `tetragon.FineGuidanceSensors`. Methods that change an agent answer UNIMPLEMENTED: policies are applied to the
//! cluster.

use std::pin::Pin;

use futures::{Stream, stream};
use tonic::{Request, Response, Status};
use trilobite_api::tetragon::{
    self as api,
    fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer},
};

use super::{
    encoder::EventEncoder,
    event_stream::EventStream,
    info::AgentInfo,
    policies::{DOMAIN, list_policies},
};
use crate::{
    layers::security::event_bus::EventBus,
    serve::{read_rows::ReadRows, scope::read_scope},
};

pub fn service(
    bus: EventBus,
    encoder: EventEncoder,
    info: AgentInfo,
    rows: ReadRows,
) -> FineGuidanceSensorsServer<impl FineGuidanceSensors> {
    FineGuidanceSensorsServer::new(TetragonService { bus, encoder, info, rows })
}

struct TetragonService {
    bus: EventBus,
    encoder: EventEncoder,
    info: AgentInfo,
    rows: ReadRows,
}

fn unimplemented<T>(method: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("tetragon.FineGuidanceSensors/{method} is not served by this agent")))
}

#[tonic::async_trait]
impl FineGuidanceSensors for TetragonService {
    type GetEventsStream = Pin<Box<dyn Stream<Item = Result<api::GetEventsResponse, Status>> + Send>>;

    async fn get_events(
        &self,
        request: Request<api::GetEventsRequest>,
    ) -> Result<Response<Self::GetEventsStream>, Status> {
        let scope = read_scope(&request)?;
        let events = EventStream::new(request.into_inner(), scope, &self.bus, &self.encoder, &self.rows);
        let events = events.map_err(|status| *status)?;
        let events = stream::unfold(events, async |mut events| Some((Ok(events.next().await?), events)));
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_health(
        &self,
        request: Request<api::GetHealthStatusRequest>,
    ) -> Result<Response<api::GetHealthStatusResponse>, Status> {
        Ok(Response::new(self.info.health(read_scope(&request)?.is_everything())))
    }

    async fn get_version(
        &self,
        _: Request<api::GetVersionRequest>,
    ) -> Result<Response<api::GetVersionResponse>, Status> {
        Ok(Response::new(self.info.version()))
    }

    async fn get_info(&self, _: Request<api::GetInfoRequest>) -> Result<Response<api::GetInfoResponse>, Status> {
        Ok(Response::new(self.info.info(&self.encoder)))
    }

    async fn add_tracing_policy(
        &self,
        _: Request<api::AddTracingPolicyRequest>,
    ) -> Result<Response<api::AddTracingPolicyResponse>, Status> {
        unimplemented("AddTracingPolicy")
    }

    async fn delete_tracing_policy(
        &self,
        _: Request<api::DeleteTracingPolicyRequest>,
    ) -> Result<Response<api::DeleteTracingPolicyResponse>, Status> {
        unimplemented("DeleteTracingPolicy")
    }

    async fn list_tracing_policies(
        &self,
        request: Request<api::ListTracingPoliciesRequest>,
    ) -> Result<Response<api::ListTracingPoliciesResponse>, Status> {
        let scope = read_scope(&request)?;
        Ok(Response::new(list_policies(&self.info.policies.read(), request.get_ref(), &scope)))
    }

    async fn list_domains(
        &self,
        _: Request<api::ListDomainsRequest>,
    ) -> Result<Response<api::ListDomainsResponse>, Status> {
        Ok(Response::new(api::ListDomainsResponse { domains: vec![DOMAIN.to_owned()] }))
    }

    async fn configure_tracing_policy(
        &self,
        _: Request<api::ConfigureTracingPolicyRequest>,
    ) -> Result<Response<api::ConfigureTracingPolicyResponse>, Status> {
        unimplemented("ConfigureTracingPolicy")
    }

    async fn enable_tracing_policy(
        &self,
        _: Request<api::EnableTracingPolicyRequest>,
    ) -> Result<Response<api::EnableTracingPolicyResponse>, Status> {
        unimplemented("EnableTracingPolicy")
    }

    async fn disable_tracing_policy(
        &self,
        _: Request<api::DisableTracingPolicyRequest>,
    ) -> Result<Response<api::DisableTracingPolicyResponse>, Status> {
        unimplemented("DisableTracingPolicy")
    }

    async fn list_sensors(
        &self,
        _: Request<api::ListSensorsRequest>,
    ) -> Result<Response<api::ListSensorsResponse>, Status> {
        unimplemented("ListSensors")
    }

    async fn enable_sensor(
        &self,
        _: Request<api::EnableSensorRequest>,
    ) -> Result<Response<api::EnableSensorResponse>, Status> {
        unimplemented("EnableSensor")
    }

    async fn disable_sensor(
        &self,
        _: Request<api::DisableSensorRequest>,
    ) -> Result<Response<api::DisableSensorResponse>, Status> {
        unimplemented("DisableSensor")
    }

    async fn remove_sensor(
        &self,
        _: Request<api::RemoveSensorRequest>,
    ) -> Result<Response<api::RemoveSensorResponse>, Status> {
        unimplemented("RemoveSensor")
    }

    async fn runtime_hook(
        &self,
        _: Request<api::RuntimeHookRequest>,
    ) -> Result<Response<api::RuntimeHookResponse>, Status> {
        unimplemented("RuntimeHook")
    }

    async fn get_debug(
        &self,
        request: Request<api::GetDebugRequest>,
    ) -> Result<Response<api::GetDebugResponse>, Status> {
        if !read_scope(&request)?.is_everything() {
            return Err(Status::permission_denied(
                "the processes of all namespaces are shown to the whole cluster only",
            ));
        }
        Ok(Response::new(self.info.debug(request.get_ref(), &self.encoder)?))
    }

    async fn set_debug(&self, _: Request<api::SetDebugRequest>) -> Result<Response<api::SetDebugResponse>, Status> {
        unimplemented("SetDebug")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::StreamExt;
    use tokio::sync::watch;
    use trilobite_api::tetragon::HealthStatusResult;

    use super::*;
    use crate::{
        identity::Pod,
        layers::security::SecurityEvent,
        loss::Ledger,
        serve::{read_rows::ReadResource, scope::tests::scoped, tetragon::samples},
    };

    fn agent(problem: Option<&str>) -> TetragonService {
        let (sender, receiver) = watch::channel(problem.map(str::to_owned));
        // The receiver keeps the last value.
        drop(sender);
        TetragonService {
            bus: EventBus::new(Ledger::default()),
            encoder: samples::encoder(),
            info: samples::agent_info("v1", receiver),
            rows: ReadRows::default(),
        }
    }

    fn exec_in(namespace: &str) -> Arc<SecurityEvent> {
        let mut event = samples::exec();
        let place = Arc::make_mut(event.process.pod.as_mut().unwrap());
        place.pod = Arc::new(Pod { namespace: namespace.into(), name: "till".into(), ..Pod::default() });
        event.parent = Some(samples::exec_on_the_host().process);
        Arc::new(event)
    }

    fn namespace(event: api::GetEventsResponse) -> String {
        let Some(api::get_events_response::Event::ProcessExec(exec)) = event.event else { panic!("no exec") };
        assert_eq!(exec.parent, None, "the parent is a process of the host");
        exec.process.unwrap().pod.unwrap().namespace
    }

    #[tokio::test]
    async fn events_of_another_namespace_are_withheld_and_counted() {
        let agent = agent(None);
        let request = scoped(api::GetEventsRequest::default(), "reef,shop");
        let mut events = agent.get_events(request).await.unwrap().into_inner();
        for namespace in ["store", "shop", "store", "reef", "fossils"] {
            agent.bus.publish(exec_in(namespace));
        }
        agent.bus.publish(Arc::new(samples::exec_on_the_host()));
        agent.bus.close();
        let mut sent = Vec::new();
        while let Some(event) = events.next().await {
            sent.push(namespace(event.unwrap()));
        }
        assert_eq!(sent, ["shop", "reef"]);
        assert_eq!(agent.rows.counts(ReadResource::Events), (2, 4));
    }

    #[tokio::test]
    async fn filter_cannot_ask_for_the_parent_that_is_withheld() {
        let agent = agent(None);
        let parent = exec_in("shop").parent.clone().unwrap().process.binary.clone();
        let filter = api::Filter { parent_binary_regex: vec![parent], ..api::Filter::default() };
        let request = || api::GetEventsRequest { allow_list: vec![filter.clone()], ..Default::default() };
        let scoped_events = agent.get_events(scoped(request(), "shop")).await.unwrap().into_inner();
        let all_events = agent.get_events(scoped(request(), "*")).await.unwrap().into_inner();
        agent.bus.publish(exec_in("shop"));
        agent.bus.close();
        assert_eq!((scoped_events.count().await, all_events.count().await), (0, 1));
    }

    #[tokio::test]
    async fn only_the_whole_cluster_sees_the_agents_problem() {
        let agent = agent(Some("TracingPolicy/reef/secret: LoadFailed"));
        let details = async |scope: &str| {
            let request = scoped(api::GetHealthStatusRequest::default(), scope);
            let health = agent.get_health(request).await.unwrap().into_inner().health_status.remove(0);
            (health.status(), health.details)
        };
        let error = HealthStatusResult::HealthStatusError;
        assert_eq!(details("shop").await, (error, "degraded".to_owned()));
        assert_eq!(details("*").await, (error, "TracingPolicy/reef/secret: LoadFailed".to_owned()));
    }

    #[tokio::test]
    async fn policies_are_listed_and_sensors_are_refused_by_name() {
        let agent = agent(None);
        let request = scoped(api::ListTracingPoliciesRequest::default(), "shop");
        let policies = agent.list_tracing_policies(request).await.unwrap().into_inner().policies;
        assert_eq!(policies.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), ["egress"]);
        let refused = agent.list_sensors(scoped(api::ListSensorsRequest::default(), "*")).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unimplemented);
        assert!(refused.message().contains("ListSensors"));
    }

    #[tokio::test]
    async fn processes_are_dumped_for_the_whole_cluster_only() {
        let agent = agent(None);
        let request = |flag, scope| scoped(api::GetDebugRequest { flag, arg: None }, scope);
        let refused = agent.get_debug(request(1, "shop")).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        let debug = agent.get_debug(request(1, "*")).await.unwrap().into_inner();
        assert!(matches!(debug.arg, Some(api::get_debug_response::Arg::Processes(_))));
        let level = agent.get_debug(request(0, "*")).await.unwrap().into_inner();
        assert!(matches!(level.arg, Some(api::get_debug_response::Arg::Level(_))));
        assert_eq!(agent.get_debug(request(7, "*")).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
