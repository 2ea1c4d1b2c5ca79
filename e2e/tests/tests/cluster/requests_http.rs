//! Rows of HTTP against nginx's own access log: two clients on the other node, reused connections, pipelines, errors, and a slow
//! handler whose time the client measures too.

use trilobite_e2e::{
    Fixture,
    pods::{self, address},
    servers::{ServerPod, assert_same, by_connection, profile, rows, shell, wait_for},
};

const NAMESPACE: &str = "requests-http";

/// Two kinds of errors, a body of a file that is sent by `sendfile`, and one line of log for each request.
const NGINX: &str = r#"mkdir -p /tmp/www /var/log/nginx /var/lib/nginx/body
dd if=/dev/zero of=/tmp/www/large bs=1024 count=1024 2>/dev/null
echo hello >/tmp/www/item
cat >/tmp/nginx.conf <<'END'
user root; worker_processes 2; error_log /tmp/error.log; pid /tmp/nginx.pid;
events { worker_connections 512; }
http {
  log_format all '$connection $request_method $request_uri $status';
  access_log /tmp/access.log all;
  sendfile on; keepalive_requests 100000;
  server {
    listen 8080 default_server;
    root /tmp/www;
    location /items/ { try_files /item =404; }
    location /denied { return 403; }
    location /broken { return 503; }
  }
}
END
exec nginx -c /tmp/nginx.conf -g 'daemon off;'"#;

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
    pods::namespace(&fixture.kubectl, NAMESPACE);
    let server = ServerPod { namespace: NAMESPACE, name: "nginx", node: "node2", script: NGINX, user: 0 };
    server.start(fixture);
    let client = ServerPod { namespace: NAMESPACE, name: "client", node: "node1", script: "sleep 100000", user: 0 };
    client.start(fixture);
    profile(&fixture.kubectl, NAMESPACE, "{protocols: [http]}");
    let host = address(&fixture.kubectl, NAMESPACE, "nginx", 0);
    wait_for(&fixture.kubectl, NAMESPACE, "client", &format!("curl -sf http://{host}:8080/item"));

    let curl = format!(
        "curl -s -o /dev/null 'http://{host}:8080/items/[1-7900]?password=secret' && curl -s -o /dev/null 'http://{host}:8080/large?[1-50]'"
    );
    shell(&fixture.kubectl, NAMESPACE, "client", &curl);
    let python = format!("cat >/tmp/p.py <<'END'\n{PIPELINES}\nEND\npython3 /tmp/p.py {host}");
    shell(&fixture.kubectl, NAMESPACE, "client", &python);

    let log = shell(&fixture.kubectl, NAMESPACE, "nginx", "cat /tmp/access.log");
    let mut logged: std::collections::BTreeMap<&str, Vec<String>> = std::collections::BTreeMap::new();
    for line in log.lines() {
        let (connection, request) = line.split_once(' ').unwrap();
        logged.entry(connection).or_default().push(without_query(request));
    }
    let mut logged: Vec<Vec<String>> = logged.into_values().collect();
    logged.sort();
    let count: usize = logged.iter().map(Vec::len).sum();
    assert!(count >= 9900, "nginx has logged {count} requests");

    for role in ["server", "client"] {
        let rows = rows(&fixture.kubectl, NAMESPACE, &["--protocol", "http"], 2 * count);
        let of_role: Vec<_> = rows.iter().filter(|row| row.text("role") == role).cloned().collect();
        let secrets = of_role.iter().filter(|row| row.object.to_string().contains("secret")).count();
        assert_eq!(secrets, 0, "values of a query are in rows");
        let mut seen: Vec<Vec<String>> = by_connection(&of_role)
            .into_iter()
            .map(|sequence| sequence.iter().map(|words| without_query(words)).collect())
            .collect();
        seen.sort();
        assert_same(&format!("requests of the {role}, by connection"), &seen, &logged);
    }
    fixture.kubectl.run(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

/// `GET /a?b=<redacted> 200` and `GET /a?b=secret 200`, as a row and as nginx logs it: `GET /a 200`.
fn without_query(words: &str) -> String {
    let mut parts = words.split(' ');
    let (method, path, status) = (parts.next().unwrap(), parts.next().unwrap(), parts.next_back().unwrap());
    format!("{method} {} {status}", path.split('?').next().unwrap())
}
