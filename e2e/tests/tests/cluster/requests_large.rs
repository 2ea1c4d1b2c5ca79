//! Downloads of 100 MiB from nginx, by sendfile and inside TLS, between small requests of the same connections: every request is a
//! row, what was not captured is counted, and nothing behind it is misread.

use std::collections::BTreeMap;

use trilobite_e2e::{
    Fixture, eventually,
    servers::{ServerAndClient, assert_same, by_connection, nginx, of_role},
    wait::that,
};

const NAMESPACE: &str = "requests-large";
const BYTES: u64 = 100 << 20;
const LOG_FORMAT: &str = "$connection $request_method $request_uri $status";
const SERVER: &str = "listen 8080 default_server; listen 8443 ssl default_server; ssl_certificate /tmp/cert.pem; \
                      ssl_certificate_key /tmp/key.pem;";
const FILES: &str = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=reef -keyout /tmp/key.pem -out /tmp/cert.pem \
                     2>/dev/null; mkdir -p /tmp/www; truncate -s 100M /tmp/www/large";

#[test]
#[ignore = "make test-long"]
fn rows_around_large_downloads_equal_the_access_log() {
    let fixture = Fixture::shared();
    fixture.stack("{application: {mode: OnDemand}}");
    let pods =
        ServerAndClient::start(fixture, NAMESPACE, "nginx", &format!("{FILES}\n{}", nginx(LOG_FORMAT, SERVER)), 0);
    let host = &pods.host;
    pods.wait_for_client(&format!("curl -skf https://{host}:8443/items/ready"));
    pods.profile("{protocols: [http]}");
    for base in [format!("http://{host}:8080"), format!("https://{host}:8443")] {
        // One connection: curl keeps it for all of its addresses.
        let urls = format!(
            "'{base}/items/a[1-200]' '{base}/large?[1-3]' '{base}/missing/b[1-200]' '{base}/large?[4-5]' '{base}/items/c[1-200]'"
        );
        // Each address has an output of its own.
        let outputs = "-o /dev/null ".repeat(5);
        pods.on_client(&format!("curl -sk {outputs} {urls}"));
    }

    let log = pods.on_server("cat /tmp/access.log");
    let mut logged: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in log.lines().filter(|line| !line.contains("ready")) {
        let (connection, request) = line.split_once(' ').unwrap();
        logged.entry(connection).or_default().push(without_query(request));
    }
    let mut logged: Vec<Vec<String>> = logged.into_values().collect();
    logged.sort();
    let count: usize = logged.iter().map(Vec::len).sum();
    assert_eq!(count, 2 * 605, "nginx has logged other requests");

    let all = pods.rows(&["--protocol", "http"], 2 * count);
    for role in ["server", "client"] {
        let of_role = of_role(&all, role);
        let mut seen: Vec<Vec<String>> = by_connection(&of_role)
            .into_iter()
            .map(|sequence| sequence.iter().map(|words| without_query(words)).collect())
            .collect();
        seen.sort();
        assert_same(&format!("requests of the {role}, by connection"), &seen, &logged);
        let large: Vec<_> = of_role.iter().filter(|row| row.text("target").starts_with("/large")).collect();
        assert_eq!(large.len(), 10, "large downloads of the {role}");
        for row in large {
            assert_eq!(row.object["columns"]["resp_body_size"], BYTES.to_string(), "{:#}", row.object);
        }
        let encrypted = of_role.iter().filter(|row| row.object["encrypted"] == true).count();
        assert_eq!(encrypted, 605, "requests of the {role} inside TLS");
    }
    eventually("the bytes that were not captured are counted", 30, || {
        let object = fixture.kubectl.get(&["-n", NAMESPACE, "appprofile", "requests"])?;
        let counted = |field: &str| object["status"]["requests"][field].as_u64().unwrap_or_default();
        // Ten downloads, seen at both ends; a few KiB of each call are copied.
        let is_counted = counted("gaps") > 0 && counted("gapBytes") > 10 * BYTES;
        that(is_counted, format!("{:#}", object["status"]["requests"]))
    });
}

/// `GET /a?<redacted> 200` and `GET /a?1 200`, as a row and as nginx logs it: `GET /a 200`.
fn without_query(words: &str) -> String {
    let mut parts = words.split(' ');
    let (method, path, status) = (parts.next().unwrap(), parts.next().unwrap(), parts.next_back().unwrap());
    format!("{method} {} {status}", path.split('?').next().unwrap())
}
