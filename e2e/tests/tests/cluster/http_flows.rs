//! HTTP as flows: the real `hubble` and Hubble's metrics against nginx's own access log, while a profile runs.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;
use trilobite_e2e::{
    Fixture,
    clients::{self, Stream},
    eventually,
    read_api::page_of_node,
    servers::{ServerAndClient, nginx},
    wait::that,
};

const NAMESPACE: &str = "http-flows";
const PORT: u16 = 9965;
const STACK: &str = "{application: {mode: OnDemand}, network: {mode: OnDemand, metrics: {mode: Enabled, \
                     metrics: ['httpV2:labelsContext=destination_namespace,destination_pod']}}}";
const ERRORS: &str = "listen 8080 default_server; location /denied { return 403; } location /broken { return 503; }";
const LOG_FORMAT: &str = "$request_method $request_uri $status";

/// Requests by method, path and status.
type Counts = BTreeMap<String, usize>;

fn count(lines: impl Iterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    lines.for_each(|line| *counts.entry(line).or_default() += 1);
    counts
}

/// `hubble observe` on the server's node.
fn observe(words: &[&str]) -> Command {
    let to_server = ["observe", "-o", "json", "--last", "4000", "--pod", "http-flows/nginx"];
    clients::hubble("node2", &[&to_server[..], words].concat())
}

/// Of the flows that `hubble observe` prints.
fn observed(words: &[&str]) -> Counts {
    let said = |line: &Value| {
        let http = &line["flow"]["l7"]["http"];
        let url = http["url"].as_str()?.to_owned();
        let path = url.split_once("://").map_or(url.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let path = path.split('?').next().unwrap_or_default();
        Some(format!("{} {path} {}", http["method"].as_str()?, http["code"]))
    };
    count(clients::json_lines(observe(words)).iter().filter_map(said))
}

#[test]
fn http_flows_and_metrics_equal_the_access_log_of_nginx() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack(STACK);
    let pods = ServerAndClient::start(fixture, NAMESPACE, "nginx", &nginx(LOG_FORMAT, ERRORS), 0);
    let host = &pods.host;
    pods.wait_for_client(&format!("curl -sf http://{host}:8080/item"));
    let get = |words: &str| drop(pods.on_client(&format!("curl -s -o /dev/null {words}")));
    assert_eq!(observed(&["--protocol", "http"]), Counts::new(), "without a profile nothing is decoded");
    let explained = clients::trilobite(kubectl, &["observe", "-n", NAMESPACE, "--protocol", "http"]).output().unwrap();
    let explained = String::from_utf8_lossy(&explained.stderr).into_owned();
    assert!(explained.contains("trilobite.dev/app-profile=http.15m"), "{explained}");

    pods.profile("{protocols: [http]}");
    let follow = Stream::start(clients::hubble("node2", &["observe", "--follow", "--http-status", "5+"]));
    pods.on_server(": >/tmp/access.log");
    get(&format!("'http://{host}:8080/items/[1-200]?password=secret'"));
    get(&format!("'http://{host}:8080/denied?[1-30]' 'http://{host}:8080/broken?[1-20]' -X POST"));
    follow.until("a response that failed", 30, |line| {
        line.contains("http-response FORWARDED (HTTP/1.1 503") && line.contains("/broken?")
    });
    drop(follow);

    let log = pods.on_server("cat /tmp/access.log");
    // A try_files of nginx changes its `$uri`, so that the log has the target as it was sent.
    let without_query = |line: &str| {
        let (asked, status) = line.rsplit_once(' ').unwrap();
        format!("{} {status}", asked.split('?').next().unwrap())
    };
    let logged = count(log.lines().map(without_query));
    assert_eq!(logged.values().sum::<usize>(), 250, "{logged:?}");
    eventually("the flows are those of the log", 60, || {
        let flows = observed(&["--protocol", "http", "--reply", "--traffic-direction", "ingress"]);
        that(flows == logged, format!("{flows:?} instead of {logged:?}"))
    });
    let requests = observed(&["--protocol", "http", "--not-reply", "--traffic-direction", "ingress"]);
    assert_eq!(requests.values().sum::<usize>(), 250, "{requests:?}");
    let with = |part: &str| -> Counts {
        logged.iter().filter(|(line, _)| line.contains(part)).map(|(line, count)| (line.clone(), *count)).collect()
    };
    for (words, part) in [
        (["--http-status", "5+"], " 503"),
        (["--http-status", "403"], " 403"),
        (["--http-path", "^/denied$"], " /denied "),
        (["--http-method", "get"], "GET "),
        (["--http-header", "Content-Type:text/html"], "POST "),
    ] {
        let words = [&words[..], &["--reply", "--traffic-direction", "ingress"]].concat();
        assert_eq!(observed(&words), with(part), "{words:?}");
    }
    let lines = clients::json_lines(observe(&["--protocol", "http"]));
    let text = serde_json::to_string(&lines).unwrap();
    assert!(!text.contains("secret") && text.contains("password=<redacted>"), "{}", &text[..text.len().min(2000)]);

    let with_status = |status: &str| -> usize {
        logged.iter().filter(|(line, _)| line.ends_with(status)).map(|(_, count)| count).sum()
    };
    eventually("the metric counts what the log has", 60, || {
        let page = page_of_node(kubectl, "node2", PORT)?;
        for status in ["200", "403", "503"] {
            let labels =
                [format!("status_code=\"{status}\""), "reporter=\"server\"".to_owned(), "\"nginx\"".to_owned()];
            let is_wanted = |line: &&str| {
                line.starts_with("hubble_http_requests_total{") && labels.iter().all(|label| line.contains(label))
            };
            let counted =
                page.lines().filter(is_wanted).filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok());
            let (counted, expected) = (counted.sum::<usize>(), with_status(status));
            that(counted == expected, format!("{counted} of status {status} instead of {expected}"))?;
        }
        Ok(())
    });
    drop(pods);
    fixture.stack("{network: {mode: OnDemand}}");
}
