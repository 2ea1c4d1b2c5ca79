//! Rows of requests inside TLS, of nginx, curl and Python (OpenSSL) and of Node, against the servers' own logs: nothing is missing, and
//! no row has the address of another connection. What Go encrypts is named. The agents have no SYS_ADMIN.

use std::{collections::BTreeMap, fs};

use trilobite_cluster::Cache;
use trilobite_e2e::{
    Fixture, eventually,
    fixture::NAMESPACE as PRODUCT,
    pods::{TestNamespace, address},
    profiles::start_profile,
    read_api::wait_until_served,
    servers::{
        Row, ServerAndClient, ServerPod, nginx, of_role, profile, put_file, rows, shell, start_client, wait_for,
    },
    wait::that,
};

const NAMESPACE: &str = "requests-tls";

const CERTIFICATE: &str = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=reef -keyout /tmp/key.pem -out /tmp/cert.pem 2>/dev/null";

const NODE: &str = r#"cat >/tmp/server.js <<'END'
const https = require('https'), fs = require('fs');
const log = fs.openSync('/tmp/access.log', 'a');
https.createServer({ key: fs.readFileSync('/tmp/key.pem'), cert: fs.readFileSync('/tmp/cert.pem') }, (request, response) => {
  response.statusCode = request.url.startsWith('/denied/') ? 403 : 200;
  const peer = request.socket.remoteAddress.replace('::ffff:', '') + ':' + request.socket.remotePort;
  fs.writeSync(log, peer + ' ' + request.url + ' ' + response.statusCode + '\n');
  response.end('hello');
}).listen(8443);
END
exec node /tmp/server.js"#;

/// Logs the client's address, the path and the status of each request.
fn nginx_script() -> String {
    let server = "listen 8443 ssl default_server; ssl_certificate /tmp/cert.pem; ssl_certificate_key /tmp/key.pem; \
                  location /denied/ { return 403; }";
    format!("{CERTIFICATE}\n{}", nginx("$remote_addr:$remote_port $request_uri $status", server))
}

/// Client, and status, by path. Each path is asked for once.
fn logged(log: &str) -> BTreeMap<String, (String, String)> {
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (peer, path, status) = (words.next()?, words.next()?, words.next()?);
        Some((path, (peer, status)))
    };
    log.lines().filter_map(line).collect()
}

fn check_server(fixture: &Fixture, name: &str, script: &str) {
    let kubectl = &fixture.kubectl;
    let server = ServerPod { namespace: NAMESPACE, name, node: "node2", script, user: 0 };
    server.start(fixture);
    let host = address(kubectl, NAMESPACE, name, 0);
    wait_for(kubectl, NAMESPACE, "client", &format!("curl -skf https://{host}:8443/items/ready-{name}"));
    // One long connection, many short ones, and ones that are open at the same time.
    let load = format!(
        "curl -sk -o /dev/null 'https://{host}:8443/items/{name}-a[1-2000]'; \
         for n in $(seq 100); do curl -sk -o /dev/null \"https://{host}:8443/denied/{name}-b$n\"; done; \
         for n in $(seq 10); do curl -sk -o /dev/null \"https://{host}:8443/items/{name}-c$n-[1-100]\" & done; wait"
    );
    shell(kubectl, NAMESPACE, "client", &load);
    let mut logged = logged(&shell(kubectl, NAMESPACE, name, "cat /tmp/access.log"));
    logged.retain(|path, _| !path.contains("ready"));
    assert_eq!(logged.len(), 3100, "the log of {name}");

    let words = ["--protocol", "http"];
    let all = rows(kubectl, NAMESPACE, &words, 2 * logged.len());
    let ours = all.iter().filter(|row| row.text("target").contains(&format!("/{name}-")));
    let (servers, clients): (Vec<&Row>, Vec<&Row>) = ours.partition(|row| row.text("role") == "server");
    for (role, rows) in [("server", servers), ("client", clients)] {
        assert_eq!(rows.len(), logged.len(), "rows of the {role} of {name}");
        let mut with_peer = 0;
        for row in &rows {
            assert_eq!(row.object["encrypted"], true, "{:#}", row.object);
            let (peer, status) = &logged[row.text("target")];
            assert_eq!(row.text("status"), status, "{:#}", row.object);
            let remote = row.endpoint("remote");
            let expected = if role == "server" { peer.clone() } else { format!("{host}:8443") };
            if !remote.is_empty() {
                with_peer += 1;
                assert_eq!(remote, expected, "{:#}", row.object);
            }
        }
        println!("{name}: {with_peer} of {} rows of the {role} have a peer", rows.len());
        assert!(with_peer * 100 >= rows.len() * 99, "{with_peer} of {} rows have a peer", rows.len());
    }
}

#[test]
fn rows_inside_tls_equal_the_logs_and_have_no_wrong_peer() {
    let fixture = Fixture::shared();
    fixture.stack("{application: {mode: OnDemand}}");
    let _deleted = TestNamespace::create(&fixture.kubectl, NAMESPACE);
    start_client(fixture, NAMESPACE);
    profile(&fixture.kubectl, NAMESPACE, "{protocols: [http]}");
    check_server(fixture, "nginx", &nginx_script());
    check_server(fixture, "node", &format!("{CERTIFICATE}\n{NODE}"));
}

const PYTHON: &str = r"
import requests, sys, warnings
warnings.simplefilter('ignore')
for n in range(50): assert requests.get('https://%s:8443/items/python-%d' % (sys.argv[1], n), verify=False).ok
";

/// The Go program is kubectl as a proxy: it serves plain text, and speaks TLS to nginx.
#[test]
#[ignore = "make test-long"]
fn go_is_named_as_not_visible_beside_rows_of_python() {
    const HERE: &str = "requests-tls-go";
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{application: {mode: OnDemand}}");
    let pods = ServerAndClient::start(fixture, HERE, "nginx", &nginx_script(), 0);
    let host = &pods.host;
    pods.wait_for_client(&format!("curl -skf https://{host}:8443/items/ready"));
    let program = Cache::from_environment().program("kubectl").unwrap();
    put_file(kubectl, HERE, "client", "/tmp/kubectl", &fs::read(program).unwrap());
    pods.profile("{protocols: [http]}");

    let proxy = format!(
        "/tmp/kubectl --server=https://{host}:8443 --insecure-skip-tls-verify --token=reef proxy --port=8001 </dev/null >/tmp/log 2>&1 &"
    );
    pods.on_client(&proxy);
    pods.wait_for_client("curl -sf http://127.0.0.1:8001/items/go");
    pods.run_python(PYTHON, "");

    eventually("the status names the Go program", 60, || {
        let object = kubectl.get(&["-n", HERE, "appprofile", "requests"])?;
        let hidden = object["status"]["requests"]["tlsNotVisible"].as_array().cloned().unwrap_or_default();
        let is_named = hidden.iter().any(|one| one["reason"] == "go" && one["binary"] == "kubectl");
        that(is_named, format!("{:#}", object["status"]))
    });
    let all = pods.rows(&["--protocol", "http"], 100);
    for role in ["server", "client"] {
        let mut of_python = of_role(&all, role);
        of_python.retain(|row| row.text("target").starts_with("/items/python-"));
        assert_eq!(of_python.len(), 50, "rows of the {role}");
        assert!(of_python.iter().all(|row| row.object["encrypted"] == true && row.text("status") == "200"));
    }
    let of_go = |encrypted: bool, role: &str| {
        of_role(&all, role).into_iter().any(|row| {
            row.text("target") == "/items/go" && row.object["encrypted"].as_bool().unwrap_or_default() == encrypted
        })
    };
    assert!(
        of_go(true, "server") && of_go(false, "server"),
        "nginx, and the proxy itself, have rows of the Go program"
    );
    assert!(!of_go(true, "client"), "the Go program's own TLS has a row");
}

/// Our relay serves TLS by rustls; the API server is its client.
#[test]
#[ignore = "make test-long"]
fn rustls_of_the_relay_is_named_as_not_visible() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{application: {mode: OnDemand}, relay: {mode: Enabled}}");
    wait_until_served(kubectl);
    let spec = "podSelector: {matchLabels: {app.kubernetes.io/name: trilobite-relay}}, requests: {protocols: [http]}, \
                durationSeconds: 600";
    start_profile(kubectl, PRODUCT, "relay", spec);
    eventually("the status names the relay", 60, || {
        // New connections, in case that the API server has kept none.
        kubectl.ask(&["get", "--raw", "/apis/read.trilobite.dev/v1alpha1"])?;
        let object = kubectl.get(&["-n", PRODUCT, "appprofile", "relay"])?;
        let hidden = object["status"]["requests"]["tlsNotVisible"].as_array().cloned().unwrap_or_default();
        let is_named = hidden.iter().any(|one| one["reason"] == "rustls" && one["binary"] == "trilobite-relay");
        that(is_named, format!("{:#}", object["status"]))
    });
    kubectl.run(&["-n", PRODUCT, "delete", "appprofile", "relay"]);
}
