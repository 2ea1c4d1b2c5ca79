//! Rows of DNS against unbound's own log of queries: two clients on the other node, over UDP and TCP, with names that do not exist.

use trilobite_e2e::{
    Fixture,
    pods::{self, address},
    servers::{Row, ServerPod, assert_same, profile, rows, shell, wait_for},
};

const NAMESPACE: &str = "requests-dns";

const UNBOUND: &str = r#"cat >/tmp/unbound.conf <<'END'
server:
  interface: 0.0.0.0
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "/tmp"
  pidfile: "/tmp/unbound.pid"
  use-syslog: no
  logfile: "/tmp/unbound.log"
  log-queries: yes
  local-zone: "shop.test." static
  local-data: "cart.shop.test. A 192.0.2.1"
  local-data: "cart.shop.test. AAAA 2001:db8::1"
  local-data: "pay.shop.test. CNAME cart.shop.test."
remote-control:
  control-enable: no
END
exec unbound -c /tmp/unbound.conf"#;

/// The resolver of the C library, by name and family.
const CLIENT: &str = r#"
import socket, sys
for i in range(1200):
    for name in ('cart.shop.test', 'missing%d.shop.test' % i):
        try: socket.getaddrinfo(name, 80, proto=socket.IPPROTO_TCP)
        except socket.gaierror: pass
"#;

#[test]
fn rows_equal_the_queries_that_unbound_logs() {
    let fixture = Fixture::shared();
    fixture.stack("{application: {mode: OnDemand}}");
    pods::namespace(&fixture.kubectl, NAMESPACE);
    let server = ServerPod { namespace: NAMESPACE, name: "unbound", node: "node2", script: UNBOUND, user: 0 };
    server.start(fixture);
    let host = address(&fixture.kubectl, NAMESPACE, "unbound", 0);
    let client = ServerPod { namespace: NAMESPACE, name: "client", node: "node1", script: "sleep 100000", user: 0 };
    client.start(fixture);
    wait_for(&fixture.kubectl, NAMESPACE, "client", &format!("dig +short @{host} cart.shop.test | grep 192"));
    profile(&fixture.kubectl, NAMESPACE, "{protocols: [dns]}");
    let from =
        shell(&fixture.kubectl, NAMESPACE, "unbound", "wc -l </tmp/unbound.log").trim().parse::<usize>().unwrap();

    // The kubelet wrote the cluster's own server into the file.
    let python =
        format!("cat >/tmp/p.py <<'END'\n{CLIENT}\nEND\necho nameserver {host} >/etc/resolv.conf; python3 /tmp/p.py");
    shell(&fixture.kubectl, NAMESPACE, "client", &python);
    let dig = format!(
        "for i in $(seq 1 2400); do echo cart.shop.test A; echo pay.shop.test TXT; done >/tmp/names; \
         dig +noall +answer -f /tmp/names @{host} >/tmp/answers; head -n 400 /tmp/names >/tmp/few; dig +tcp +short -f /tmp/few @{host} >/tmp/answers"
    );
    shell(&fixture.kubectl, NAMESPACE, "client", &dig);

    let log = shell(&fixture.kubectl, NAMESPACE, "unbound", "cat /tmp/unbound.log");
    let mut logged: Vec<String> = log.lines().skip(from).filter_map(logged_query).collect();
    logged.sort();
    assert!(logged.len() >= 9900, "unbound has logged {} queries", logged.len());

    let all = rows(&fixture.kubectl, NAMESPACE, &["--protocol", "dns"], 2 * logged.len());
    for role in ["server", "client"] {
        let of_role: Vec<&Row> = all.iter().filter(|row| row.text("role") == role).collect();
        let mut seen: Vec<String> = of_role
            .iter()
            .map(|row| format!("{} {}", row.text("target").trim_end_matches('.').to_lowercase(), row.text("operation")))
            .collect();
        seen.sort();
        assert_same(&format!("queries of the {role}"), &seen, &logged);
        let missing = of_role.iter().filter(|row| row.text("status") == "NXDOMAIN").count();
        assert_eq!(missing, 2400, "names that do not exist, as A and AAAA");
    }
    fixture.kubectl.run(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

/// `[TIME] unbound[PID:THREAD] info: ADDRESS NAME TYPE CLASS` as name and type.
fn logged_query(line: &str) -> Option<String> {
    let (_, text) = line.split_once("info: ")?;
    let mut words = text.split(' ');
    let (_, name, kind, class) = (words.next()?, words.next()?, words.next()?, words.next()?);
    (class == "IN").then(|| format!("{} {kind}", name.trim_end_matches('.').to_lowercase()))
}
