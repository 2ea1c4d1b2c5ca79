//! Rows of HTTP against nginx's own access log: two clients on the other node, reused connections, pipelines and errors.

use std::collections::BTreeMap;

use trilobite_e2e::{
    Fixture,
    servers::{ServerAndClient, assert_same, by_connection, nginx, of_role},
};

const NAMESPACE: &str = "requests-http";

/// A body of a file that is sent by `sendfile`.
const LARGE: &str = "mkdir -p /tmp/www; dd if=/dev/zero of=/tmp/www/large bs=1024 count=1024 2>/dev/null";
/// Two kinds of errors.
const ERRORS: &str = "listen 8080 default_server; location /denied { return 403; } location /broken { return 503; }";
const LOG_FORMAT: &str = "$connection $request_method $request_uri $status";

/// 100 connections of 20 requests each, four of them sent at once.
const PIPELINES: &str = r#"
import socket, sys
def read_answers(s, count):
    f, bodies = s.makefile('rb'), 0
    for _ in range(count):
        length = 0
        while True:
            line = f.readline()
            if line in (b'\r\n', b''): break
            if line.lower().startswith(b'content-length:'): length = int(line.split(b':')[1])
        f.read(length)
for c in range(100):
    s = socket.create_connection((sys.argv[1], 8080))
    for batch in range(5):
        paths = ['/items/%d-%d' % (c, batch), '/missing/%d' % c, '/denied', '/broken']
        s.sendall(b''.join(b'GET %s?token=secret HTTP/1.1\r\nHost: x\r\n\r\n' % p.encode() for p in paths))
        read_answers(s, len(paths))
    s.close()
"#;

#[test]
fn rows_equal_the_access_log_of_nginx() {
    let fixture = Fixture::shared();
    fixture.stack("{application: {mode: OnDemand}}");
    let script = format!("{LARGE}\n{}", nginx(LOG_FORMAT, ERRORS));
    let pods = ServerAndClient::start(fixture, NAMESPACE, "nginx", &script, 0);
    pods.profile("{protocols: [http]}");
    let host = &pods.host;
    pods.wait_for_client(&format!("curl -sf http://{host}:8080/item"));

    let curl = format!(
        "curl -s -o /dev/null 'http://{host}:8080/items/[1-7900]?password=secret' && curl -s -o /dev/null 'http://{host}:8080/large?[1-50]'"
    );
    pods.on_client(&curl);
    pods.run_python(PIPELINES, "");

    let log = pods.on_server("cat /tmp/access.log");
    let mut logged: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in log.lines() {
        let (connection, request) = line.split_once(' ').unwrap();
        logged.entry(connection).or_default().push(without_query(request));
    }
    let mut logged: Vec<Vec<String>> = logged.into_values().collect();
    logged.sort();
    let count: usize = logged.iter().map(Vec::len).sum();
    assert!(count >= 9900, "nginx has logged {count} requests");

    let all = pods.rows(&["--protocol", "http"], 2 * count);
    for role in ["server", "client"] {
        let of_role = of_role(&all, role);
        let secrets = of_role.iter().filter(|row| row.object.to_string().contains("secret")).count();
        assert_eq!(secrets, 0, "values of a query are in rows");
        let mut seen: Vec<Vec<String>> = by_connection(&of_role)
            .into_iter()
            .map(|sequence| sequence.iter().map(|words| without_query(words)).collect())
            .collect();
        seen.sort();
        assert_same(&format!("requests of the {role}, by connection"), &seen, &logged);
    }
}

/// `GET /a?b=<redacted> 200` and `GET /a?b=secret 200`, as a row and as nginx logs it: `GET /a 200`.
fn without_query(words: &str) -> String {
    let mut parts = words.split(' ');
    let (method, path, status) = (parts.next().unwrap(), parts.next().unwrap(), parts.next_back().unwrap());
    format!("{method} {} {status}", path.split('?').next().unwrap())
}
