//! Opens and closes the port of Hubble's metrics, as the desired state says. While none is wanted there is no listener, no task and
//! no series.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use trilobite_crds::hubble_metrics::FlowMetrics;

use crate::{
    layers::network::hubble_metrics::HubbleMetrics,
    problem::Problem,
    report::{listen::listen, page::page},
};

/// How long a scrape may go on after the port was closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Upper bounds in seconds; those of Prometheus' client for Go.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

pub(crate) struct MetricsPort {
    metrics: HubbleMetrics,
    problem: watch::Sender<Option<Problem>>,
    held: Option<HeldMetricsPort>,
}

/// A port that is open, or that waits for its address.
struct HeldMetricsPort {
    port: u16,
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl MetricsPort {
    pub(super) fn new(metrics: HubbleMetrics) -> Self {
        Self { metrics, problem: watch::channel(None).0, held: None }
    }

    pub(super) fn problem(&self) -> watch::Receiver<Option<Problem>> {
        self.problem.subscribe()
    }

    /// Counts what is asked for, and opens, moves or closes the port.
    pub(super) async fn apply(&mut self, settings: Option<&FlowMetrics>) {
        self.metrics.apply(settings);
        let port = settings.map(|settings| settings.port);
        if self.held.as_ref().map(|held| held.port) == port {
            return;
        }
        self.release_port().await;
        if let Some(port) = port {
            let closing = CancellationToken::new();
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let open = keep_open(address, self.metrics.clone(), self.problem.clone(), closing.clone());
            self.held = Some(HeldMetricsPort { port, closing, task: tokio::spawn(open) });
        }
    }

    /// Returns once nothing is counted and the address is free again.
    pub(super) async fn close(&mut self) {
        self.apply(None).await;
    }

    async fn release_port(&mut self) {
        if let Some(HeldMetricsPort { closing, task, .. }) = self.held.take() {
            closing.cancel();
            // Fails only where the task has panicked, and closed the port so.
            let _ = task.await;
        }
        self.problem.send_replace(None);
    }
}

/// Serves the port until `closing`.
async fn keep_open(
    address: SocketAddr,
    metrics: HubbleMetrics,
    problem: watch::Sender<Option<Problem>>,
    closing: CancellationToken,
) {
    let not_served = |address, detail| Problem::HubbleMetricsNotServed { address, detail };
    let listener = closing.run_until_cancelled(listen(address, &problem, not_served)).await;
    let Some(listener) = listener else { return };
    tracing::info!(%address, "the port of Hubble's metrics is open");
    serve(listener, metrics, closing).await;
    tracing::info!(%address, "the port of Hubble's metrics is closed");
}

async fn serve(listener: TcpListener, metrics: HubbleMetrics, closing: CancellationToken) {
    let scraped = Arc::new(ScrapedPage::new(metrics));
    let router = Router::new().route("/metrics", get(move || std::future::ready(scraped.respond())));
    let server = axum::serve(listener, router).with_graceful_shutdown(closing.clone().cancelled_owned());
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        () = closing.cancelled() => {}
        _ = &mut server => return,
    }
    if timeout(CLOSE_TIMEOUT, &mut server).await.is_err() {
        server.abort();
    }
}

type StatusLabel = [(&'static str, u16); 1];

/// The page, and how often and how long it was read.
struct ScrapedPage {
    registry: Registry,
    requests: Family<StatusLabel, Counter>,
    durations: Family<StatusLabel, Histogram, fn() -> Histogram>,
}

impl ScrapedPage {
    fn new(metrics: HubbleMetrics) -> Self {
        let requests = Family::default();
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let help = "Requests for the page of flow metrics, by status code";
        registry.register("hubble_metrics_http_handler_requests", help, requests.clone());
        let help = "How long the page of flow metrics took, by status code";
        registry.register("hubble_metrics_http_handler_request_duration_seconds", help, durations.clone());
        Self { registry, requests, durations }
    }

    fn respond(&self) -> axum::response::Response {
        let started = Instant::now();
        let page = page([&self.registry]);
        let status = page.as_ref().map_or_else(|(status, _)| *status, |_| StatusCode::OK);
        let code = [("code", status.as_u16())];
        self.requests.get_or_create(&code).inc();
        self.durations.get_or_create(&code).observe(started.elapsed().as_secs_f64());
        page.into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        net::Ipv4Addr,
    };

    use regex::Regex;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    use trilobite_crds::{hubble_metrics::parse_metrics, stack::NetworkMetricsSpec};

    use super::*;
    use crate::{
        layers::network::{
            endpoint::{Endpoint, Reserved},
            flow::{
                Flow, L4, PolicyAction,
                samples::{drop_by_policy, policy_verdict, syn},
            },
            history::FlowBuffer,
        },
        loss::Ledger,
    };

    fn port() -> MetricsPort {
        MetricsPort::new(HubbleMetrics::new("reef-1", Ledger::default(), FlowBuffer::default()))
    }

    /// Names of the labels of each metric, on a page with flows of every event.
    fn labels_by_metric() -> BTreeMap<String, BTreeSet<String>> {
        let buffer = FlowBuffer::default();
        buffer.revive();
        let metrics = HubbleMetrics::new("reef-1", Ledger::default(), buffer);
        metrics.apply(Some(&NetworkMetricsSpec::default().settings()));
        let ping = Flow { l4: L4::Icmp { v6: false, kind: 8, code: 0 }, ..syn() };
        let to_world = Flow { destination_endpoint: Arc::new(Endpoint::reserved(Reserved::World)), ..syn() };
        let flows = [syn(), drop_by_policy(), policy_verdict(PolicyAction::Denied), ping, to_world];
        flows.iter().for_each(|flow| metrics.record(flow));
        let scraped = ScrapedPage::new(metrics);
        drop(scraped.respond());
        let (_, text) = page([&scraped.registry]).unwrap();
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let label = Regex::new(r#"([a-z_]+)=""#).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
            let names = label.captures_iter(rest).map(|found| found[1].to_owned());
            labels.entry(name.to_owned()).or_default().extend(names);
        }
        labels
    }

    #[test]
    fn every_metric_and_label_of_a_dashboard_exists() {
        let known = labels_by_metric();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/trilobite/dashboards");
        let metric = Regex::new("(?:hubble|trilobite)_[a-z_]+").unwrap();
        let labels = Regex::new(r#"by \(([^)]*)\)|([a-z_]+)=~?""#).unwrap();
        let mut panels = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
            for panel in dashboard["panels"].as_array().unwrap() {
                panels += 1;
                for target in panel["targets"].as_array().unwrap() {
                    let expression = target["expr"].as_str().unwrap();
                    let name = metric.find(expression).unwrap().as_str();
                    let known = known.get(name).unwrap_or_else(|| panic!("{name} of {}", panel["title"]));
                    for found in labels.captures_iter(expression) {
                        let names = found.get(1).or(found.get(2)).unwrap().as_str();
                        for label in names.split(", ") {
                            assert!(known.contains(label), "{name} has no label {label}: {}", panel["title"]);
                        }
                    }
                }
            }
        }
        assert!(panels > 20, "{panels} panels");
    }

    /// A port that was free a moment ago.
    async fn free_port() -> u16 {
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await.unwrap().local_addr().unwrap().port()
    }

    fn settings(port: u16) -> FlowMetrics {
        FlowMetrics { port, max_series: 100, metrics: parse_metrics(&[], &[]).metrics }
    }

    async fn scrape(port: u16) -> Option<String> {
        for _ in 0..200 {
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
                let mut page = String::new();
                stream.read_to_string(&mut page).await.unwrap();
                return Some(page);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    #[tokio::test]
    async fn page_is_served_only_while_metrics_are_wanted() {
        let mut metrics = port();
        let number = free_port().await;
        metrics.apply(Some(&settings(number))).await;
        let page = scrape(number).await.unwrap();
        assert!(page.contains("\nhubble_lost_events_total{source=\"perf_event_ring_buffer\"} 0\n"), "{page}");
        let page = scrape(number).await.unwrap();
        assert!(page.contains("hubble_metrics_http_handler_requests_total{code=\"200\"} 1\n"), "{page}");
        assert!(
            page.contains("hubble_metrics_http_handler_request_duration_seconds_bucket{le=\"0.005\",code=\"200\"}")
        );
        let moved = free_port().await;
        metrics.apply(Some(&settings(moved))).await;
        assert!(scrape(moved).await.is_some());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await.is_err());
        metrics.close().await;
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, moved)).await.is_err());
    }

    #[tokio::test]
    async fn taken_port_is_a_problem_that_names_it_and_its_field() {
        let other = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await.unwrap();
        let number = other.local_addr().unwrap().port();
        let mut metrics = port();
        let mut problem = metrics.problem();
        metrics.apply(Some(&settings(number))).await;
        let message = problem.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().message();
        assert!(message.contains(&number.to_string()) && message.contains("spec.network.metrics.port"), "{message}");
        metrics.apply(None).await;
        assert_eq!(*metrics.problem().borrow(), None);
    }
}
