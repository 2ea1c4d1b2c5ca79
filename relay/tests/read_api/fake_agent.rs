//! An agent that sends what it is given, by TLS with certificates on both sides.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Connected},
};
use trilobite_api::{
    observer::{
        GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, Namespace, ServerStatusRequest,
        ServerStatusResponse,
        observer_server::{Observer, ObserverServer},
    },
    profiles::{
        self, GetProfileRequest, GetProfileResponse, ListProfilesRequest, ListProfilesResponse, Profile, ProfileState,
        WatchProfileRequest,
        get_profile_response::Content,
        profiles_server::{Profiles, ProfilesServer},
    },
    read_scope::{COMPLETE_SINCE, READ_NAMESPACES},
    requests::{
        GetRequestsRequest, GetRequestsResponse,
        requests_server::{Requests, RequestsServer},
    },
    tetragon::{
        self, GetEventsRequest, GetEventsResponse,
        fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer},
    },
};

use crate::authority::Authority;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub(crate) struct FakeAgent {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
}

pub(crate) struct State {
    /// Flows of the past.
    pub(crate) flows: Mutex<Vec<GetFlowsResponse>>,
    pub(crate) new_flows: broadcast::Sender<GetFlowsResponse>,
    pub(crate) new_events: broadcast::Sender<GetEventsResponse>,
    /// Requests of the past.
    pub(crate) requests: Mutex<Vec<GetRequestsResponse>>,
    pub(crate) new_requests: broadcast::Sender<GetRequestsResponse>,
    pub(crate) request_queries: Mutex<Vec<GetRequestsRequest>>,
    pub(crate) profiles: Mutex<Vec<(Profile, &'static str)>>,
    /// Scope and method of each call.
    pub(crate) calls: Mutex<Vec<(String, &'static str)>>,
    pub(crate) flow_requests: Mutex<Vec<GetFlowsRequest>>,
    /// Breaks the streams of flows that are open.
    pub(crate) breaks: broadcast::Sender<()>,
    pub(crate) complete_since: Mutex<Option<u64>>,
    /// Every call is refused with this.
    pub(crate) refusal: Mutex<Option<Status>>,
    pub(crate) connections: Mutex<usize>,
}

impl FakeAgent {
    /// Shows the certificate of `name` and lets in clients that the authority has signed.
    pub(crate) async fn start(authority: &Authority, name: &str) -> Self {
        Self::letting_in(authority, name, authority).await
    }

    /// Lets in clients of another authority than its own.
    pub(crate) async fn letting_in(authority: &Authority, name: &str, clients: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            flows: Mutex::default(),
            new_flows: broadcast::channel(1 << 16).0,
            new_events: broadcast::channel(1 << 16).0,
            requests: Mutex::default(),
            new_requests: broadcast::channel(1 << 16).0,
            request_queries: Mutex::default(),
            profiles: Mutex::default(),
            calls: Mutex::default(),
            flow_requests: Mutex::default(),
            breaks: broadcast::channel(1).0,
            complete_since: Mutex::default(),
            refusal: Mutex::default(),
            connections: Mutex::default(),
        });
        let acceptor = TlsAcceptor::from(Arc::new(server_config(authority, name, clients)));
        let counted = Arc::clone(&state);
        let incoming = stream::unfold((listener, acceptor, counted), |(listener, acceptor, counted)| async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                if let Ok(tls) = acceptor.accept(tcp).await {
                    *counted.connections.lock() += 1;
                    return Some((Ok::<_, std::io::Error>(Incoming(tls)), (listener, acceptor, counted)));
                }
            }
        });
        let services = Services(Arc::clone(&state));
        let router = Server::builder()
            .add_service(FineGuidanceSensorsServer::new(services.clone()))
            .add_service(ObserverServer::new(services.clone()))
            .add_service(ProfilesServer::new(services.clone()))
            .add_service(RequestsServer::new(services));
        tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
        Self { address, state }
    }
}

fn server_config(authority: &Authority, name: &str, clients: &Authority) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.certificate.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let certificate = authority.server(name);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificate.chain.clone(), certificate.private_key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

struct Incoming(TlsStream<tokio::net::TcpStream>);

impl Connected for Incoming {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Incoming {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Incoming {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[derive(Clone)]
struct Services(Arc<State>);

impl Services {
    /// As an agent does: a call without a scope is refused.
    fn called<T>(&self, request: &Request<T>, method: &'static str) -> Result<(), Status> {
        if let Some(refusal) = self.0.refusal.lock().clone() {
            return Err(refusal);
        }
        let scope = request.metadata().get(READ_NAMESPACES);
        let scope = scope.ok_or_else(|| Status::permission_denied("trilobite-read-namespaces: missing"))?;
        self.0.calls.lock().push((scope.to_str().unwrap().to_owned(), method));
        Ok(())
    }
}

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented(""))
}

#[tonic::async_trait]
impl FineGuidanceSensors for Services {
    type GetEventsStream = Streamed<GetEventsResponse>;

    async fn get_events(&self, request: Request<GetEventsRequest>) -> Result<Response<Self::GetEventsStream>, Status> {
        self.called(&request, "GetEvents")?;
        let events = BroadcastStream::new(self.0.new_events.subscribe());
        Ok(Response::new(events.map(|event| event.map_err(|_| Status::data_loss("too slow"))).boxed()))
    }

    async fn get_health(
        &self,
        _: Request<tetragon::GetHealthStatusRequest>,
    ) -> Result<Response<tetragon::GetHealthStatusResponse>, Status> {
        absent()
    }

    async fn get_version(
        &self,
        request: Request<tetragon::GetVersionRequest>,
    ) -> Result<Response<tetragon::GetVersionResponse>, Status> {
        self.called(&request, "GetVersion")?;
        Ok(Response::new(tetragon::GetVersionResponse { version: "9.8.7".into() }))
    }

    trilobite_api::unserved_tetragon_methods!(absent());
}

#[tonic::async_trait]
impl Observer for Services {
    type GetFlowsStream = Streamed<GetFlowsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        self.called(&request, "GetFlows")?;
        let request = request.into_inner();
        let since = request.since.map(|time| (time.seconds, time.nanos));
        let is_asked = |flow: &GetFlowsResponse| {
            since.is_none_or(|since| flow.time.is_some_and(|time| (time.seconds, time.nanos) >= since))
        };
        let is_past = !request.follow || since.is_some();
        let mut past: Vec<_> = self.0.flows.lock().iter().filter(|flow| is_past && is_asked(flow)).cloned().collect();
        let number = usize::try_from(request.number).unwrap_or(usize::MAX);
        if number > 0 && number < past.len() && !request.follow {
            let is_newest = !request.first && request.since.is_none();
            past = if is_newest { past.split_off(past.len() - number) } else { past.drain(..number).collect() };
        }
        let new = BroadcastStream::new(self.0.new_flows.subscribe());
        let past = stream::iter(past.into_iter().map(Ok));
        let mut breaks = self.0.breaks.subscribe();
        let broken = stream::once(async move { breaks.recv().await.and(Ok(Err(Status::unavailable("felled")))) });
        let broken = broken.filter_map(|broken| std::future::ready(broken.ok()));
        let flows = match request.follow {
            true => {
                let new = new.map(|flow| flow.map_err(|_| Status::data_loss("too slow")));
                stream::select(past.chain(new), broken).boxed()
            }
            false => past.boxed(),
        };
        self.0.flow_requests.lock().push(request);
        let mut response = Response::new(flows);
        if let Some(since) = *self.0.complete_since.lock() {
            response.metadata_mut().insert(COMPLETE_SINCE, since.to_string().parse().unwrap());
        }
        Ok(response)
    }

    async fn get_namespaces(
        &self,
        request: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        self.called(&request, "GetNamespaces")?;
        let namespaces =
            ["bank", "shop"].map(|namespace| Namespace { namespace: namespace.into(), ..Namespace::default() });
        Ok(Response::new(GetNamespacesResponse { namespaces: namespaces.into() }))
    }

    async fn server_status(
        &self,
        request: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        self.called(&request, "ServerStatus")?;
        let num_flows = self.0.flows.lock().len() as u64;
        let version = "9.8.7".into();
        Ok(Response::new(ServerStatusResponse {
            num_flows,
            max_flows: 4095,
            version,
            ..ServerStatusResponse::default()
        }))
    }

    trilobite_api::unserved_observer_methods!(absent(), get_nodes);
}

#[tonic::async_trait]
impl Profiles for Services {
    type WatchStream = Streamed<Profile>;
    type GetStream = Streamed<GetProfileResponse>;

    async fn list(&self, request: Request<ListProfilesRequest>) -> Result<Response<ListProfilesResponse>, Status> {
        self.called(&request, "List")?;
        let profiles = self.0.profiles.lock().iter().map(|(profile, _)| profile.clone()).collect();
        Ok(Response::new(ListProfilesResponse { profiles }))
    }

    async fn watch(&self, _: Request<WatchProfileRequest>) -> Result<Response<Self::WatchStream>, Status> {
        absent()
    }

    async fn get(&self, request: Request<GetProfileRequest>) -> Result<Response<Self::GetStream>, Status> {
        self.called(&request, "Get")?;
        let request = request.into_inner();
        assert_eq!(request.parts, [i32::from(profiles::ProfilePart::Folded)]);
        let found = self.0.profiles.lock().iter().find(|(profile, _)| profile.name == request.name).cloned();
        let (profile, folded) = found.ok_or_else(|| Status::not_found("no such profile"))?;
        if profile.state() == ProfileState::Running {
            return Err(Status::failed_precondition("it is still running"));
        }
        let content = [Content::Profile(profile), Content::Folded(folded.into())];
        let chunks = content.map(|content| Ok(GetProfileResponse { content: Some(content) }));
        Ok(Response::new(stream::iter(chunks).boxed()))
    }
}

#[tonic::async_trait]
impl Requests for Services {
    type GetRequestsStream = Streamed<GetRequestsResponse>;

    async fn get_requests(
        &self,
        request: Request<GetRequestsRequest>,
    ) -> Result<Response<Self::GetRequestsStream>, Status> {
        self.called(&request, "GetRequests")?;
        let query = request.into_inner();
        let is_past = !query.follow || query.since.is_some();
        let past: Vec<_> = self.0.requests.lock().iter().filter(|_| is_past).cloned().collect();
        let new = BroadcastStream::new(self.0.new_requests.subscribe());
        let past = stream::iter(past.into_iter().map(Ok));
        let rows = match query.follow {
            true => past.chain(new.map(|row| row.map_err(|_| Status::data_loss("too slow")))).boxed(),
            false => past.boxed(),
        };
        self.0.request_queries.lock().push(query);
        Ok(Response::new(rows))
    }
}
