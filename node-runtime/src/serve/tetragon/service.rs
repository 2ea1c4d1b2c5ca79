//! `tetragon.FineGuidanceSensors`. What the agent does not do answers UNIMPLEMENTED with the method's name: policies are
//! applied to the cluster, not to an agent.

use std::pin::Pin;

use futures::{Stream, stream};
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::{convert::Scene, fields::FieldFilters, filter::Filters};
use crate::{
    layers::security::bus::{EventBus, Next, Subscription},
    report::Place,
    serve::proto::tetragon::{
        self as api, EventType, HealthStatusResult, HealthStatusType,
        fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer},
    },
};

/// What the agent says about itself.
#[derive(Clone)]
pub struct About {
    /// Version of the agent.
    pub version: String,
    /// What is wrong with the agent as a whole, in words; nothing while all is well.
    pub wrong: watch::Receiver<Option<String>>,
}

/// The service, to be added to a router.
pub fn service(bus: EventBus, scene: Scene, about: About) -> FineGuidanceSensorsServer<impl FineGuidanceSensors> {
    FineGuidanceSensorsServer::new(Face { bus, scene, about })
}

struct Face {
    bus: EventBus,
    scene: Scene,
    about: About,
}

/// One reader of GetEvents.
struct Reader {
    events: Subscription,
    scene: Scene,
    fields: FieldFilters,
    wants_losses: bool,
}

impl Reader {
    fn new(request: api::GetEventsRequest, bus: &EventBus, scene: &Scene) -> Result<Self, Box<Status>> {
        let api::GetEventsRequest { allow_list, deny_list, aggregation_options, field_filters } = request;
        if aggregation_options.is_some() {
            let refusal = "aggregation_options: events are not aggregated; leave it out";
            return Err(Box::new(Status::invalid_argument(refusal)));
        }
        let rate_limit_info = EventType::RateLimitInfo.into();
        Ok(Self {
            wants_losses: allow_list.iter().any(|filter| filter.event_set.contains(&rate_limit_info)),
            fields: FieldFilters::new(field_filters)?,
            events: {
                let filters = Filters::new(allow_list, deny_list)?;
                bus.subscribe_to(Place::StreamReader, move |event| filters.pass(event))
            },
            scene: scene.clone(),
        })
    }

    async fn next(&mut self) -> Option<api::GetEventsResponse> {
        loop {
            return match self.events.next().await {
                Next::Event(event) => Some(self.fields.apply(self.scene.message(&event))),
                // `tetra getevents -o compact` ends at a rate_limit_info, so that only those who name it get it.
                Next::Lost(_, count) if self.wants_losses => Some(self.scene.missing(count, Timestamp::now())),
                Next::Lost(place, count) => Some(self.scene.lost(place, count, Timestamp::now())),
                // Tetragon's stream has no event for it; a reader whose stream broke knows, and the export says so.
                Next::Gap(_) => continue,
                Next::Closed => None,
            };
        }
    }
}

fn refused<T>(method: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("tetragon.FineGuidanceSensors/{method} is not served by this agent")))
}

#[tonic::async_trait]
impl FineGuidanceSensors for Face {
    type GetEventsStream = Pin<Box<dyn Stream<Item = Result<api::GetEventsResponse, Status>> + Send>>;

    async fn get_events(
        &self,
        request: Request<api::GetEventsRequest>,
    ) -> Result<Response<Self::GetEventsStream>, Status> {
        let reader = Reader::new(request.into_inner(), &self.bus, &self.scene).map_err(|status| *status)?;
        let events = stream::unfold(reader, async |mut reader| Some((Ok(reader.next().await?), reader)));
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_health(
        &self,
        _: Request<api::GetHealthStatusRequest>,
    ) -> Result<Response<api::GetHealthStatusResponse>, Status> {
        let wrong = self.about.wrong.borrow().clone();
        let status = if wrong.is_some() {
            HealthStatusResult::HealthStatusError
        } else {
            HealthStatusResult::HealthStatusRunning
        };
        let health = api::HealthStatus {
            event: HealthStatusType::Status.into(),
            status: status.into(),
            details: wrong.unwrap_or_else(|| "running".to_owned()),
        };
        Ok(Response::new(api::GetHealthStatusResponse { health_status: vec![health] }))
    }

    async fn get_version(
        &self,
        _: Request<api::GetVersionRequest>,
    ) -> Result<Response<api::GetVersionResponse>, Status> {
        Ok(Response::new(api::GetVersionResponse { version: self.about.version.clone() }))
    }

    async fn get_info(&self, _: Request<api::GetInfoRequest>) -> Result<Response<api::GetInfoResponse>, Status> {
        Ok(Response::new(api::GetInfoResponse {
            version: self.about.version.clone(),
            name: "trilobite-node".to_owned(),
            // Clients take for granted that it is there.
            build: Some(api::get_info_response::BuildInfo::default()),
            ..api::GetInfoResponse::default()
        }))
    }

    async fn add_tracing_policy(
        &self,
        _: Request<api::AddTracingPolicyRequest>,
    ) -> Result<Response<api::AddTracingPolicyResponse>, Status> {
        refused("AddTracingPolicy")
    }

    async fn delete_tracing_policy(
        &self,
        _: Request<api::DeleteTracingPolicyRequest>,
    ) -> Result<Response<api::DeleteTracingPolicyResponse>, Status> {
        refused("DeleteTracingPolicy")
    }

    async fn list_tracing_policies(
        &self,
        _: Request<api::ListTracingPoliciesRequest>,
    ) -> Result<Response<api::ListTracingPoliciesResponse>, Status> {
        refused("ListTracingPolicies")
    }

    async fn configure_tracing_policy(
        &self,
        _: Request<api::ConfigureTracingPolicyRequest>,
    ) -> Result<Response<api::ConfigureTracingPolicyResponse>, Status> {
        refused("ConfigureTracingPolicy")
    }

    async fn enable_tracing_policy(
        &self,
        _: Request<api::EnableTracingPolicyRequest>,
    ) -> Result<Response<api::EnableTracingPolicyResponse>, Status> {
        refused("EnableTracingPolicy")
    }

    async fn disable_tracing_policy(
        &self,
        _: Request<api::DisableTracingPolicyRequest>,
    ) -> Result<Response<api::DisableTracingPolicyResponse>, Status> {
        refused("DisableTracingPolicy")
    }

    async fn list_sensors(
        &self,
        _: Request<api::ListSensorsRequest>,
    ) -> Result<Response<api::ListSensorsResponse>, Status> {
        refused("ListSensors")
    }

    async fn enable_sensor(
        &self,
        _: Request<api::EnableSensorRequest>,
    ) -> Result<Response<api::EnableSensorResponse>, Status> {
        refused("EnableSensor")
    }

    async fn disable_sensor(
        &self,
        _: Request<api::DisableSensorRequest>,
    ) -> Result<Response<api::DisableSensorResponse>, Status> {
        refused("DisableSensor")
    }

    async fn remove_sensor(
        &self,
        _: Request<api::RemoveSensorRequest>,
    ) -> Result<Response<api::RemoveSensorResponse>, Status> {
        refused("RemoveSensor")
    }

    async fn runtime_hook(
        &self,
        _: Request<api::RuntimeHookRequest>,
    ) -> Result<Response<api::RuntimeHookResponse>, Status> {
        refused("RuntimeHook")
    }

    async fn get_debug(&self, _: Request<api::GetDebugRequest>) -> Result<Response<api::GetDebugResponse>, Status> {
        refused("GetDebug")
    }

    async fn set_debug(&self, _: Request<api::SetDebugRequest>) -> Result<Response<api::SetDebugResponse>, Status> {
        refused("SetDebug")
    }
}
