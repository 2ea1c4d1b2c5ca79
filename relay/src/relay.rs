//! The relay put together: what is watched, what is renewed, what is served.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use trilobite_certificates::{CertificateState, Request, keep_valid, watch_bundle};
use trilobite_crds::read_api::Signer;

use crate::{
    access::{Authenticator, Authorizer, ReadableNamespaces, watch_request_headers},
    agents::{AgentPool, keep_client_config, watch_agents},
    args::Arguments,
    hubble::{HubbleAccess, HubbleServer, hubble_server_config, serve_hubble_loopback, serve_hubble_tls},
    metrics::Metrics,
    resources::{byte_budget::ByteBudget, permission::PermissionTimes, recent_lists::RecentLists, watch::Reader},
    serve::{App, Readiness, Slots, keep_server_config, serve, serve_metrics, server_config},
};

/// How often idle connections are looked for.
const IDLE_INTERVAL: Duration = Duration::from_secs(15);
/// Watches and lists at the same time: of all tenants together, and of one.
const WATCHES: (usize, usize) = (128, 32);
const LISTS: (usize, usize) = (8, 4);

/// Serves until `stop`.
pub async fn run_relay(client: Client, arguments: Arguments, stop: CancellationToken) -> anyhow::Result<()> {
    let Arguments { namespace, listen, metrics_listen, hubble_listen, hubble_tls_listen, agent_port, log_format: _ } =
        arguments;
    let mut tasks = JoinSet::new();

    let (headers_sender, headers) = watch::channel(None);
    let (bundle_sender, bundle) = watch::channel(None);
    let (addresses_sender, addresses) = watch::channel(Arc::default());
    let (serving_sender, serving_certificate) = watch::channel(CertificateState::default());
    let (client_sender, client_certificate) = watch::channel(CertificateState::default());
    let (server_tls_sender, server_tls) = watch::channel(None);
    let (hubble_tls_sender, hubble_tls) = watch::channel(None);
    let (client_config_sender, client_config) = watch::channel(None);

    for (signer, sender) in [(Signer::RelayServing, serving_sender), (Signer::RelayClient, client_sender)] {
        let (client, request) = (client.clone(), Request::new(signer, "", namespace.clone()));
        tasks.spawn(async move { match keep_valid(client, request, sender).await {} });
    }
    let headers_client = client.clone();
    tasks.spawn(async move { match watch_request_headers(headers_client, headers_sender).await {} });
    let (bundle_client, bundle_namespace) = (client.clone(), namespace.clone());
    tasks.spawn(async move { match watch_bundle(bundle_client, &bundle_namespace, bundle_sender).await {} });
    let (agents_client, agents_namespace) = (client.clone(), namespace.clone());
    tasks.spawn(
        async move { match watch_agents(agents_client, &agents_namespace, agent_port, addresses_sender).await {} },
    );
    let (certificate, from_headers) = (serving_certificate.clone(), headers.clone());
    tasks.spawn(async move {
        match keep_server_config(certificate, from_headers, server_config, server_tls_sender).await {}
    });
    let from_headers = headers.clone();
    tasks.spawn(async move {
        match keep_server_config(serving_certificate, from_headers, hubble_server_config, hubble_tls_sender).await {}
    });
    tasks.spawn(async move { match keep_client_config(bundle, client_certificate, client_config_sender).await {} });

    let metrics = Arc::new(Metrics::default());
    let pool = AgentPool::new(namespace, addresses, client_config.clone());
    tasks.spawn(drop_idle_connections(pool.clone(), Arc::clone(&metrics)));

    let budget = ByteBudget::default();
    let readiness = Readiness { serving: server_tls.clone(), agents: client_config, headers: headers.clone() };
    let authorizer = Arc::new(Authorizer::new(client.clone()));
    let access = HubbleAccess {
        authenticator: Authenticator::new(client.clone(), headers.clone()),
        readable: ReadableNamespaces::new(client.clone(), Arc::clone(&authorizer)),
        headers: headers.clone(),
    };
    let app = Arc::new(App {
        reader: Arc::new(Reader {
            pool,
            metrics: Arc::clone(&metrics),
            budget: budget.clone(),
            recent: RecentLists::default(),
            permission_times: PermissionTimes::default(),
        }),
        authenticator: Authenticator::new(client, headers),
        authorizer,
        readiness: readiness.clone(),
        watches: Slots::new("watches", WATCHES.0, WATCHES.1),
        lists: Slots::new("lists", LISTS.0, LISTS.1),
    });
    let hubble = HubbleServer::new(Arc::clone(&app), access);
    let served = async {
        tokio::try_join!(
            serve(listen, server_tls, app, stop.clone()),
            serve_hubble_loopback(hubble_listen, hubble.clone(), stop.clone()),
            serve_hubble_tls(hubble_tls_listen, hubble_tls, hubble, stop.clone()),
            serve_metrics(metrics_listen, metrics, budget, readiness, stop),
        )
    };
    tokio::select! {
        served = served => served.map(|_| ()).map_err(Into::into),
        // None of them ends but by a panic: without its watches and certificates the relay would answer from the past.
        ended = tasks.join_next() => Err(anyhow::anyhow!("a task that the relay needs has ended: {ended:?}")),
    }
}

async fn drop_idle_connections(pool: AgentPool, metrics: Arc<Metrics>) {
    let mut ticks = interval(IDLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (connected, failed) = pool.drop_idle().await;
        metrics.set_agents(pool.addresses().borrow().len(), connected, failed);
    }
}
