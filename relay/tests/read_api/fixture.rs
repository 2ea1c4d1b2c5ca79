//! A relay with two agents, and users whom the API server's proxy names.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use trilobite_api::{
    flow::{Endpoint, Flow, TrafficDirection, Verdict},
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
    tetragon::{GetEventsResponse, Pod, Process, ProcessExec, get_events_response::Event},
};
use trilobite_relay::{
    access::{Authenticator, Authorizer, ReadableNamespaces, RequestHeaders},
    agents::{Addresses, AgentPool, client_config},
    hubble::{HubbleAccess, HubbleServer, accept_hubble_loopback, accept_hubble_tls, hubble_server_config},
    metrics::Metrics,
    resources::{byte_budget::ByteBudget, permission::PermissionTimes, recent_lists::RecentLists, watch::Reader},
    serve::{App, ConnectionLimits, Readiness, Slots, accept, accept_plain, server_config},
};

use crate::{
    authority::Authority,
    client::{HttpsClient, SERVICE},
    fake_agent::FakeAgent,
    fake_api_server::{Rights, client},
};

pub(crate) const API: &str = "/apis/read.trilobite.dev/v1alpha1";
const NAMESPACE: &str = "reef";

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// Signs for agents and the relay.
    pub(crate) authority: Authority,
    /// Signs for the API server's proxy.
    pub(crate) front_proxy: Authority,
    /// Signs for users.
    pub(crate) users: Authority,
    pub(crate) alder: FakeAgent,
    pub(crate) birch: FakeAgent,
    pub(crate) addresses: watch::Sender<Addresses>,
    pub(crate) agent_tls: watch::Sender<Option<Arc<ClientConfig>>>,
    pub(crate) server_tls: watch::Sender<Option<Arc<ServerConfig>>>,
    pub(crate) rights: Arc<Mutex<Rights>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: ByteBudget,
    /// Serves probes and metrics without TLS.
    pub(crate) plain_address: SocketAddr,
    /// Serve Hubble's clients, for port-forwards and by TLS.
    pub(crate) hubble: SocketAddr,
    pub(crate) hubble_tls: SocketAddr,
    pub(crate) hubble_config: watch::Sender<Option<Arc<ServerConfig>>>,
    pub(crate) headers: watch::Sender<Option<Arc<RequestHeaders>>>,
    stop: CancellationToken,
}

/// What a test makes shorter.
#[derive(Default)]
pub(crate) struct Limits {
    pub(crate) connections: ConnectionLimits,
    pub(crate) permission: PermissionTimes,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub(crate) async fn start_with(limits: Limits) -> Self {
        let (authority, front_proxy) = (Authority::new("trilobite-ca"), Authority::new("front-proxy-ca"));
        let alder = FakeAgent::start(&authority, "alder.trilobite-node.reef.svc").await;
        let birch = FakeAgent::start(&authority, "birch.trilobite-node.reef.svc").await;
        let known = BTreeMap::from([("alder".to_owned(), alder.address), ("birch".to_owned(), birch.address)]);
        let (addresses, known) = watch::channel(Arc::new(known));
        let users = Authority::new("users-ca");
        let mut headers = request_headers(&[&front_proxy]);
        headers.user_ca = vec![users.certificate.clone()];
        let serving = authority.server(SERVICE);
        let (server_tls, tls) = watch::channel(Some(Arc::new(server_config(&serving, &headers).unwrap())));
        let (hubble_config, user_tls) =
            watch::channel(Some(Arc::new(hubble_server_config(&serving, &headers).unwrap())));
        let own = client_config(&authority.bundle(), &authority.client("trilobite-relay")).unwrap();
        let (agent_tls, agents) = watch::channel(Some(Arc::new(own)));
        let (headers, known_headers) = watch::channel(Some(Arc::new(headers)));
        let rights = Arc::new(Mutex::new(Rights::default()));
        let kube = client(Arc::clone(&rights));
        let (metrics, budget) = (Arc::new(Metrics::default()), ByteBudget::default());
        let authorizer = Arc::new(Authorizer::new(kube.clone()));
        let access = HubbleAccess {
            authenticator: Authenticator::new(kube.clone(), known_headers.clone()),
            readable: ReadableNamespaces::new(kube.clone(), Arc::clone(&authorizer)),
            headers: known_headers.clone(),
        };
        let app = Arc::new(App {
            reader: Arc::new(Reader {
                pool: AgentPool::new(NAMESPACE, known, agents.clone()),
                metrics: Arc::clone(&metrics),
                budget: budget.clone(),
                recent: RecentLists::default(),
                permission_times: limits.permission,
            }),
            authenticator: Authenticator::new(kube, known_headers.clone()),
            authorizer,
            readiness: Readiness { serving: tls.clone(), agents, headers: known_headers },
            watches: Slots::new("watches", 8, 4),
            lists: Slots::new("lists", 8, 4),
        });
        let server = HubbleServer::new(Arc::clone(&app), access);
        let for_forwards = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let hubble = SocketAddr::from(([127, 0, 0, 1], for_forwards.local_addr().unwrap().port()));
        let for_users = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hubble_tls = for_users.local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plain_address = plain.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (shown, readiness) = (Arc::clone(&metrics), app.readiness.clone());
        tokio::spawn(accept_plain(plain, shown, budget.clone(), readiness, limits.connections, stop.clone()));
        tokio::spawn(accept(listener, tls, app, limits.connections, stop.clone()));
        tokio::spawn(accept_hubble_loopback(for_forwards, server.clone(), stop.clone()));
        tokio::spawn(accept_hubble_tls(for_users, user_tls, server, limits.connections, stop.clone()));
        Self {
            address,
            authority,
            front_proxy,
            users,
            alder,
            birch,
            addresses,
            agent_tls,
            server_tls,
            rights,
            metrics,
            budget,
            plain_address,
            hubble,
            hubble_tls,
            hubble_config,
            headers,
            stop,
        }
    }

    /// `USER VERB RESOURCE NAMESPACE`.
    pub(crate) fn allow(&self, rights: &[&str]) {
        self.rights.lock().allowed.extend(rights.iter().map(|right| (*right).to_owned()));
    }

    /// A user whose request the API server passes on.
    pub(crate) fn user(&self, name: &str) -> HttpsClient {
        let proxy = self.front_proxy.client("front-proxy-client");
        HttpsClient::new(self.address, &self.authority, Some(&proxy)).with("x-remote-user", name)
    }

    /// A user who may read everything.
    pub(crate) fn admin(&self) -> HttpsClient {
        for resource in ["events", "flows", "profiles", "requests", "nodes"] {
            for verb in ["get", "list", "watch"] {
                for namespace in ["*", "shop", "bank"] {
                    self.allow(&[&format!("admin {verb} {resource} {namespace}")]);
                }
            }
        }
        self.user("admin")
    }

    /// Serves with another certificate from now on.
    pub(crate) fn renew_serving_certificate(&self, by: &Authority) {
        let headers = self.headers.borrow().clone().unwrap();
        let config = server_config(&by.server(SERVICE), &headers).unwrap();
        self.server_tls.send_replace(Some(Arc::new(config)));
    }

    /// A value of `trilobite_relay_rows_total`.
    pub(crate) fn rows(&self, resource: &str, result: &str) -> u64 {
        let name = format!("trilobite_relay_rows_total{{resource=\"{resource}\",result=\"{result}\"}} ");
        let text = self.metrics.encode().unwrap();
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Requests come from the proxy whose certificate one of these has signed.
pub(crate) fn request_headers(front_proxies: &[&Authority]) -> RequestHeaders {
    let bundle: String = front_proxies.iter().map(|authority| authority.pem.as_str()).collect();
    let data: BTreeMap<String, String> = [
        ("requestheader-client-ca-file", bundle.as_str()),
        ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    RequestHeaders::read(&data).unwrap()
}

/// A flow to a pod at that time, in nanoseconds.
pub(crate) fn flow(node: &str, namespace: &str, pod: &str, time: u64) -> GetFlowsResponse {
    let seconds = i64::try_from(time / 1_000_000_000).unwrap();
    let nanos = i32::try_from(time % 1_000_000_000).unwrap();
    let time = Some(prost_types::Timestamp { seconds, nanos });
    let end = Endpoint {
        namespace: namespace.into(),
        pod_name: pod.into(),
        labels: vec![format!("k8s:app={}", pod.split('-').next().unwrap())],
        ..Endpoint::default()
    };
    let flow = Flow {
        time,
        uuid: format!("{node}-{seconds}-{nanos}"),
        verdict: Verdict::Forwarded.into(),
        traffic_direction: TrafficDirection::Ingress.into(),
        destination: Some(end),
        node_name: node.into(),
        ..Flow::default()
    };
    GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), node_name: node.into(), time }
}

/// The start of a process, `number` being its PID.
pub(crate) fn exec(node: &str, namespace: &str, pod: &str, number: u32) -> GetEventsResponse {
    let pod = Pod { namespace: namespace.into(), name: pod.into(), ..Pod::default() };
    let process = Process { binary: "/usr/bin/curl".into(), pid: Some(number), pod: Some(pod), ..Process::default() };
    GetEventsResponse {
        event: Some(Event::ProcessExec(ProcessExec { process: Some(process), ..ProcessExec::default() })),
        node_name: node.into(),
        time: Some(prost_types::Timestamp { seconds: 1_732_972_345, nanos: 7 }),
        ..GetEventsResponse::default()
    }
}
