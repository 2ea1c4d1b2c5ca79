//! An agent that is killed while it captures requests: its rows are counted as lost with the time without an agent, and nothing that
//! comes after it is missing or misread.

use std::collections::BTreeMap;

use jiff::Timestamp;
use trilobite_e2e::{
    Fixture, agents, eventually,
    servers::{Row, ServerAndClient, latest_rows, nginx, put_file},
    wait::that,
};

const NAMESPACE: &str = "requests-killed";
/// The request's second, its path and status.
const LOG_FORMAT: &str = "$msec $request_uri $status";
/// Seconds after the new agent's start from which on each request must be a row: its programs and the sockets of before.
const JOINED: f64 = 10.0;

/// Two connections that stay open, one of them from before the profile, and a new one for each third request; until there is a file
/// `stop`. A request is asked for once.
const LOAD: &str = r"
import http.client, os, sys, time
def connect(): return http.client.HTTPConnection(sys.argv[1], 8080)
def get(c, path):
    c.request('GET', path); c.getresponse().read()
early = connect(); late = None
get(early, '/items/early-0')
n = 0
while not os.path.exists('/tmp/stop'):
    n += 1
    get(early, '/items/early-%d' % n if n % 10 else '/missing/early-%d' % n)
    if n == 200: late = connect()
    if late: get(late, '/items/late-%d' % n)
    if n % 3 == 0:
        c = connect(); get(c, '/items/short-%d' % n); c.close()
    time.sleep(0.02)
open('/tmp/done', 'w')
";

/// Status by path, of the requests that nginx ended at that second or later.
fn logged(log: &str, since: f64) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (second, path, status) = (words.next()?.parse::<f64>().ok()?, words.next()?, words.next()?);
        (second >= since).then(|| (path.to_owned(), status.to_owned()))
    };
    log.lines().filter_map(line).collect()
}

/// Begin and end of the time without an agent, as the status says them.
fn gap(status: &str) -> Option<(Timestamp, Timestamp)> {
    let (_, behind) = status.split_once("no agent ran on this node from ")?;
    let (from, behind) = behind.split_once(" to ")?;
    let to = behind.split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | ':'))).next()?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

#[test]
fn killed_agent_leaves_a_marked_gap_and_nothing_misread() {
    let fixture = Fixture::shared();
    fixture.stack("{application: {mode: OnDemand}}");
    let pods =
        ServerAndClient::start(fixture, NAMESPACE, "nginx", &nginx(LOG_FORMAT, "listen 8080 default_server;"), 0);
    // A new agent pod, which was never killed, is restarted without a pause.
    agents::replace_pod(&fixture.kubectl, "node2");
    fixture.ready("2/2");
    pods.wait_for_client(&format!("curl -sf http://{}:8080/items/ready", pods.host));
    put_file(&fixture.kubectl, NAMESPACE, "client", "/tmp/load.py", LOAD.as_bytes());
    pods.on_client(&format!("python3 /tmp/load.py {} </dev/null >/tmp/load.log 2>&1 &", pods.host));
    pods.wait_for_client("sleep 1");
    pods.profile("{protocols: [http], roles: [Server]}");
    eventually("there are rows", 60, || {
        let rows = latest_rows(&fixture.kubectl, NAMESPACE);
        that(rows.len() > 100, format!("{} rows", rows.len()))
    });

    let old = agents::pid_on("node2");
    let killed = Timestamp::now();
    agents::kill("node2");
    eventually("the kubelet starts the agent again", 60, || {
        let pid = agents::pid_on("node2");
        that(pid != old, "still the old one".to_owned())
    });
    let (from, to) = eventually("the status says when no agent ran", 60, || {
        let object = fixture.kubectl.get(&["-n", NAMESPACE, "appprofile", "requests"])?;
        gap(&object["status"].to_string()).ok_or_else(|| format!("{:#}", object["status"]))
    });
    // The agent says every second that it lives; times are said in whole seconds.
    assert!(from <= to, "{from} {to}");
    assert!(seconds(from) >= seconds(killed) - 4.0 && seconds(from) <= seconds(killed) + 1.0, "{killed}: {from}");
    assert!(seconds(to) >= seconds(killed) - 1.0, "{killed}: {to}");

    pods.wait_for_client(&format!("sleep {}", JOINED + 10.0));
    pods.on_client("touch /tmp/stop");
    pods.wait_for_client("test -e /tmp/done || test -s /tmp/load.log");
    assert_eq!(pods.on_client("cat /tmp/load.log"), "", "the load was disturbed");

    let log = pods.on_server("cat /tmp/access.log");
    let (all, after) = (logged(&log, 0.0), logged(&log, seconds(to) + JOINED));
    assert!(after.len() > 200, "{} requests after the restart", after.len());
    let rows = pods.rows(&["--protocol", "http"], after.len());
    let mut seen: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in &rows {
        let path = row.text("target");
        assert_eq!(Some(row.text("status")), all.get(path).map(String::as_str), "{:#}", row.object);
        assert!(seen.insert(path, row).is_none(), "{path} has two rows");
    }
    let missing: Vec<&String> = after.keys().filter(|path| !seen.contains_key(path.as_str())).collect();
    assert!(missing.is_empty(), "{} of {} requests have no row: {missing:?}", missing.len(), after.len());
    for kind in ["early", "late", "short"] {
        let of_kind = seen.keys().filter(|path| path.contains(kind)).count();
        assert!(of_kind > 50, "{of_kind} rows of {kind} connections");
    }
    // Connections of before the new agent are said to be picked up.
    let is_joined = |row: &Row| row.object["midStream"].as_bool().unwrap_or_default();
    assert!(seen.values().filter(|row| row.text("target").contains("early")).all(|row| is_joined(row)));
    let new = seen.iter().filter(|(path, _)| path.contains("short") && after.contains_key(**path));
    assert!(new.into_iter().all(|(_, row)| !is_joined(row)));
}
