//! The services of the fake agent, which answer what they were given. Tests of the binary use this file as well.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, stream};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Router},
};
use trilobite_api::{
    flow::{Endpoint, Flow, TraceObservationPoint, Verdict},
    observer::{
        self, GetFlowsRequest, GetFlowsResponse,
        get_flows_response::ResponseTypes,
        observer_server::{Observer, ObserverServer},
    },
    profiles::{
        GetProfileRequest, GetProfileResponse, ListProfilesRequest, ListProfilesResponse, Profile, ProfileState,
        WatchProfileRequest,
        get_profile_response::Content,
        profiles_server::{Profiles, ProfilesServer},
    },
    requests::{
        self, GetRequestsRequest, GetRequestsResponse, get_requests_response,
        requests_server::{Requests, RequestsServer},
    },
    tetragon::{
        self, GetEventsRequest, GetEventsResponse, Pod, Process, ProcessExec,
        fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer},
        get_events_response::Event,
    },
};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone, Default)]
pub(crate) struct Answers {
    pub(crate) events: Vec<GetEventsResponse>,
    pub(crate) flows: Vec<GetFlowsResponse>,
    pub(crate) requests: Vec<GetRequestsResponse>,
    pub(crate) folded: &'static str,
    pub(crate) samples: u64,
    pub(crate) stops: bool,
    pub(crate) refuses: Option<&'static str>,
    /// The latest request for flows.
    pub(crate) requested_flows: Option<GetFlowsRequest>,
    /// The latest request for requests.
    pub(crate) requested_requests: Option<GetRequestsRequest>,
}

/// All services of an agent.
pub(crate) fn router(answers: Arc<parking_lot::Mutex<Answers>>) -> Router {
    let services = FakeServices(answers);
    Server::builder()
        .add_service(FineGuidanceSensorsServer::new(services.clone()))
        .add_service(ObserverServer::new(services.clone()))
        .add_service(ProfilesServer::new(services.clone()))
        .add_service(RequestsServer::new(services))
}

#[derive(Clone)]
struct FakeServices(Arc<parking_lot::Mutex<Answers>>);

impl FakeServices {
    fn answers(&self) -> Result<Answers, Status> {
        let answers = self.0.lock().clone();
        answers.refuses.map_or(Ok(answers), |why| Err(Status::invalid_argument(why)))
    }
}

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented(""))
}

#[tonic::async_trait]
impl FineGuidanceSensors for FakeServices {
    type GetEventsStream = Streamed<GetEventsResponse>;

    async fn get_events(&self, _: Request<GetEventsRequest>) -> Result<Response<Self::GetEventsStream>, Status> {
        let answers = self.answers()?;
        let events = stream::iter(answers.events.into_iter().map(Ok));
        Ok(Response::new(if answers.stops { events.boxed() } else { events.chain(stream::pending()).boxed() }))
    }

    async fn get_health(
        &self,
        _: Request<tetragon::GetHealthStatusRequest>,
    ) -> Result<Response<tetragon::GetHealthStatusResponse>, Status> {
        let status = tetragon::HealthStatus {
            event: tetragon::HealthStatusType::Status.into(),
            status: tetragon::HealthStatusResult::HealthStatusRunning.into(),
            details: "running".into(),
        };
        Ok(Response::new(tetragon::GetHealthStatusResponse { health_status: vec![status] }))
    }

    async fn get_version(
        &self,
        _: Request<tetragon::GetVersionRequest>,
    ) -> Result<Response<tetragon::GetVersionResponse>, Status> {
        Ok(Response::new(tetragon::GetVersionResponse { version: "9.8.7".into() }))
    }

    trilobite_api::unserved_tetragon_methods!(absent());
}

#[tonic::async_trait]
impl Observer for FakeServices {
    type GetFlowsStream = Streamed<GetFlowsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        self.0.lock().requested_flows = Some(request.into_inner());
        Ok(Response::new(stream::iter(self.answers()?.flows.into_iter().map(Ok)).boxed()))
    }

    async fn server_status(
        &self,
        _: Request<observer::ServerStatusRequest>,
    ) -> Result<Response<observer::ServerStatusResponse>, Status> {
        let answers = self.answers()?;
        let num_flows = answers.flows.len() as u64;
        Ok(Response::new(observer::ServerStatusResponse {
            num_flows,
            max_flows: 4095,
            seen_flows: num_flows,
            ..observer::ServerStatusResponse::default()
        }))
    }

    trilobite_api::unserved_observer_methods!(absent(), get_nodes, get_namespaces);
}

#[tonic::async_trait]
impl Profiles for FakeServices {
    type WatchStream = Streamed<Profile>;
    type GetStream = Streamed<GetProfileResponse>;

    async fn list(&self, _: Request<ListProfilesRequest>) -> Result<Response<ListProfilesResponse>, Status> {
        Ok(Response::new(ListProfilesResponse { profiles: vec![self.answers()?.profile()] }))
    }

    async fn watch(&self, _: Request<WatchProfileRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let running = Profile { state: ProfileState::Running.into(), ..Profile::default() };
        Ok(Response::new(stream::iter([Ok(running), Ok(self.answers()?.profile())]).boxed()))
    }

    async fn get(&self, _: Request<GetProfileRequest>) -> Result<Response<Self::GetStream>, Status> {
        let answers = self.answers()?;
        let chunks = answers.folded.as_bytes().chunks(5).map(|chunk| Content::Folded(chunk.to_vec()));
        let answers: Vec<_> = std::iter::once(Content::Profile(answers.profile()))
            .chain(chunks)
            .map(|content| Ok(GetProfileResponse { content: Some(content) }))
            .collect();
        Ok(Response::new(stream::iter(answers).boxed()))
    }
}

#[tonic::async_trait]
impl Requests for FakeServices {
    type GetRequestsStream = Streamed<GetRequestsResponse>;

    async fn get_requests(
        &self,
        request: Request<GetRequestsRequest>,
    ) -> Result<Response<Self::GetRequestsStream>, Status> {
        self.0.lock().requested_requests = Some(request.into_inner());
        Ok(Response::new(stream::iter(self.answers()?.requests.into_iter().map(Ok)).boxed()))
    }
}

impl Answers {
    fn profile(&self) -> Profile {
        Profile {
            name: "shop/till-1".into(),
            state: ProfileState::Done.into(),
            samples: self.samples,
            truncated: self.samples / 2,
            frequency_hz: 49,
            started: Some(prost_types::Timestamp { seconds: 100, nanos: 0 }),
            ended: Some(prost_types::Timestamp { seconds: 110, nanos: 0 }),
            ..Profile::default()
        }
    }
}

/// A process begins in a pod of node alder.
pub(crate) fn exec_in(namespace: &str, pod: &str) -> GetEventsResponse {
    let pod = Pod { namespace: namespace.into(), name: pod.into(), ..Pod::default() };
    let process =
        Process { binary: "/bin/fossil".into(), arguments: "dig".into(), pod: Some(pod), ..Process::default() };
    GetEventsResponse {
        event: Some(Event::ProcessExec(ProcessExec { process: Some(process), ..ProcessExec::default() })),
        node_name: "alder".into(),
        ..GetEventsResponse::default()
    }
}

/// A flow that node alder saw that many seconds after 1970 began.
pub(crate) fn flow_at(seconds: i64) -> GetFlowsResponse {
    let end = |name: &str| Some(Endpoint { namespace: "shop".into(), pod_name: name.into(), ..Endpoint::default() });
    let time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    let flow = Flow {
        time,
        verdict: Verdict::Forwarded.into(),
        source: end("till-1"),
        destination: end("shelf-1"),
        trace_observation_point: TraceObservationPoint::ToEndpoint.into(),
        is_reply: Some(false),
        ..Flow::default()
    };
    GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), node_name: "alder".into(), time }
}

/// A request whose response node alder saw that many seconds after 1970 began.
pub(crate) fn request_at(seconds: i64) -> GetRequestsResponse {
    let time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    let remote = requests::Endpoint { namespace: "shop".into(), pod: "front-1".into(), ..Default::default() };
    let request = requests::Request {
        time,
        namespace: "shop".into(),
        pod: "till-1".into(),
        protocol: "http".into(),
        role: "server".into(),
        remote: Some(remote),
        latency: Some(prost_types::Duration { seconds: 0, nanos: 12_000_000 }),
        status: "200".into(),
        operation: "GET".into(),
        target: "/cart".into(),
        id: format!("row-{seconds}"),
        node: "alder".into(),
        ..requests::Request::default()
    };
    let response = Some(get_requests_response::Response::Request(request));
    GetRequestsResponse { response, node_name: "alder".into(), time }
}
