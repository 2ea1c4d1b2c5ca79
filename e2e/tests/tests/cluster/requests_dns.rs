//! Rows of DNS against unbound's own log of queries: two clients on the other node, over UDP and TCP, with names that do not exist.

use trilobite_e2e::{
    Fixture,
    servers::{ServerAndClient, assert_same, of_role},
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
    let pods = ServerAndClient::start(fixture, NAMESPACE, "unbound", UNBOUND, 0);
    let host = &pods.host;
    pods.wait_for_client(&format!("dig +short @{host} cart.shop.test | grep 192"));
    pods.profile("{protocols: [dns]}");
    let from = pods.on_server("wc -l </tmp/unbound.log").trim().parse::<usize>().unwrap();

    // The kubelet wrote the cluster's own server into the file.
    pods.on_client(&format!("echo nameserver {host} >/etc/resolv.conf"));
    pods.run_python(CLIENT, "");
    let dig = format!(
        "for i in $(seq 1 2400); do echo cart.shop.test A; echo pay.shop.test TXT; done >/tmp/names; \
         dig +noall +answer -f /tmp/names @{host} >/tmp/answers; head -n 400 /tmp/names >/tmp/few; dig +tcp +short -f /tmp/few @{host} >/tmp/answers"
    );
    pods.on_client(&dig);

    let log = pods.on_server("cat /tmp/unbound.log");
    let mut logged: Vec<String> = log.lines().skip(from).filter_map(logged_query).collect();
    logged.sort();
    assert!(logged.len() >= 9900, "unbound has logged {} queries", logged.len());

    let all = pods.rows(&["--protocol", "dns"], 2 * logged.len());
    for role in ["server", "client"] {
        let of_role = of_role(&all, role);
        let mut seen: Vec<String> = of_role
            .iter()
            .map(|row| format!("{} {}", row.text("target").trim_end_matches('.').to_lowercase(), row.text("operation")))
            .collect();
        seen.sort();
        assert_same(&format!("queries of the {role}"), &seen, &logged);
        let missing = of_role.iter().filter(|row| row.text("status") == "NXDOMAIN").count();
        assert_eq!(missing, 2400, "names that do not exist, as A and AAAA");
    }
}

/// `[TIME] unbound[PID:THREAD] info: ADDRESS NAME TYPE CLASS` as name and type.
fn logged_query(line: &str) -> Option<String> {
    let (_, text) = line.split_once("info: ")?;
    let mut words = text.split(' ');
    let (_, name, kind, class) = (words.next()?, words.next()?, words.next()?, words.next()?);
    (class == "IN").then(|| format!("{} {kind}", name.trim_end_matches('.').to_lowercase()))
}
