//! `tetragon.FineGuidanceSensors`. Methods that change an agent answer UNIMPLEMENTED: policies are applied to the
//! cluster.

use std::pin::Pin;

use futures::{Stream, stream};
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use trilobite_api::field_mask::EventFieldFilters;
use trilobite_api::tetragon::{
    self as api, EventType, HealthStatusResult, HealthStatusType,
    fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer},
};

use super::{encoder::EventEncoder, filter::EventFilters};
use crate::{
    layers::security::event_bus::{EventBus, StreamItem, Subscription},
    loss::LossPoint,
};

#[derive(Clone)]
pub struct AgentInfo {
    pub version: String,
    /// The problem of the agent as a whole, if it has one.
    pub problem: watch::Receiver<Option<String>>,
}

pub fn service(
    bus: EventBus,
    encoder: EventEncoder,
    info: AgentInfo,
) -> FineGuidanceSensorsServer<impl FineGuidanceSensors> {
    FineGuidanceSensorsServer::new(TetragonService { bus, encoder, info })
}

struct TetragonService {
    bus: EventBus,
    encoder: EventEncoder,
    info: AgentInfo,
}

/// The stream of one GetEvents call.
struct EventStream {
    events: Subscription,
    encoder: EventEncoder,
    fields: EventFieldFilters,
    wants_losses: bool,
}

impl EventStream {
    fn new(request: api::GetEventsRequest, bus: &EventBus, encoder: &EventEncoder) -> Result<Self, Box<Status>> {
        let api::GetEventsRequest { allow_list, deny_list, aggregation_options, field_filters } = request;
        if aggregation_options.is_some() {
            let refusal = "aggregation_options: events are not aggregated; leave it out";
            return Err(Box::new(Status::invalid_argument(refusal)));
        }
        let rate_limit_info = EventType::RateLimitInfo.into();
        Ok(Self {
            wants_losses: allow_list.iter().any(|filter| filter.event_set.contains(&rate_limit_info)),
            fields: EventFieldFilters::new(field_filters)
                .map_err(|error| Box::new(Status::invalid_argument(error.to_string())))?,
            events: {
                let filters = EventFilters::new(allow_list, deny_list)?;
                bus.subscribe_to(LossPoint::StreamReader, move |event| filters.pass(event))
            },
            encoder: encoder.clone(),
        })
    }

    async fn next(&mut self) -> Option<api::GetEventsResponse> {
        loop {
            return match self.events.next().await {
                StreamItem::Event(event) => Some(self.fields.apply(self.encoder.message(&event))),
                // `tetra getevents -o compact` stops at a rate_limit_info, so only clients that ask for it get it.
                StreamItem::Lost(_, count) if self.wants_losses => {
                    Some(self.encoder.rate_limit_info(count, Timestamp::now()))
                }
                StreamItem::Lost(place, count) => Some(self.encoder.loss_notice(place, count, Timestamp::now())),
                // A client knows that its stream broke; the export has a line for the gap.
                StreamItem::Gap(_) => continue,
                StreamItem::Closed => None,
            };
        }
    }
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
        let events = EventStream::new(request.into_inner(), &self.bus, &self.encoder).map_err(|status| *status)?;
        let events = stream::unfold(events, async |mut events| Some((Ok(events.next().await?), events)));
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_health(
        &self,
        _: Request<api::GetHealthStatusRequest>,
    ) -> Result<Response<api::GetHealthStatusResponse>, Status> {
        let problem = self.info.problem.borrow().clone();
        let status = if problem.is_some() {
            HealthStatusResult::HealthStatusError
        } else {
            HealthStatusResult::HealthStatusRunning
        };
        let health = api::HealthStatus {
            event: HealthStatusType::Status.into(),
            status: status.into(),
            details: problem.unwrap_or_else(|| "running".to_owned()),
        };
        Ok(Response::new(api::GetHealthStatusResponse { health_status: vec![health] }))
    }

    async fn get_version(
        &self,
        _: Request<api::GetVersionRequest>,
    ) -> Result<Response<api::GetVersionResponse>, Status> {
        Ok(Response::new(api::GetVersionResponse { version: self.info.version.clone() }))
    }

    async fn get_info(&self, _: Request<api::GetInfoRequest>) -> Result<Response<api::GetInfoResponse>, Status> {
        Ok(Response::new(api::GetInfoResponse {
            version: self.info.version.clone(),
            name: "trilobite-node".to_owned(),
            // Clients require it.
            build: Some(api::get_info_response::BuildInfo::default()),
            ..api::GetInfoResponse::default()
        }))
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
        _: Request<api::ListTracingPoliciesRequest>,
    ) -> Result<Response<api::ListTracingPoliciesResponse>, Status> {
        unimplemented("ListTracingPolicies")
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

    async fn get_debug(&self, _: Request<api::GetDebugRequest>) -> Result<Response<api::GetDebugResponse>, Status> {
        unimplemented("GetDebug")
    }

    async fn set_debug(&self, _: Request<api::SetDebugRequest>) -> Result<Response<api::SetDebugResponse>, Status> {
        unimplemented("SetDebug")
    }
}
