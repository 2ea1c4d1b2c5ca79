//! Rows of Redis against the server's MONITOR: two clients on the other node, pipelines and errors.

use std::collections::BTreeMap;

use trilobite_e2e::{
    Fixture,
    servers::{Row, ServerAndClient, assert_same, of_role, wait_for},
};

const NAMESPACE: &str = "requests-redis";

/// MONITOR is a connection over loopback in the server's own pod, and so in rows too: it is left out below.
const REDIS: &str = r#"redis-server --save '' --protected-mode no --dir /tmp --daemonize yes
until redis-cli ping >/dev/null 2>&1; do sleep 0.1; done
exec redis-cli monitor >/tmp/monitor.log"#;

/// 20 connections, each with single commands, pipelines, and commands that fail.
const CLIENT: &str = r#"
import redis, sys, time
for n in range(20):
    r = redis.Redis(host=sys.argv[1], single_connection_client=True)
    for i in range(100):
        r.set('key:%d:%d' % (n, i), 'secret'); r.get('key:%d:%d' % (n, i))
        try: r.incr('key:%d:%d' % (n, i))
        except redis.ResponseError: pass
    # The agent may not know the protocol yet: until then the first 4 KiB of one call are captured.
    for batch in range(5):
        p = r.pipeline(transaction=False)
        for i in range(20): p.lpush('list:%d' % n, 'secret%d' % i); p.hset('hash:%d' % (batch * 20 + i), 'field', 'secret')
        p.execute()
    # By now it does: of larger calls every command is a row.
    if n % 5 == 0:
        time.sleep(1)
        p = r.pipeline(transaction=False)
        for i in range(500): p.set('large:%d:%d' % (n, i), 'secret')
        p.execute()
    r.close()
"#;

#[test]
fn rows_equal_what_redis_monitors() {
    let fixture = Fixture::shared();
    fixture.stack("{application: {mode: OnDemand}}");
    let pods = ServerAndClient::start(fixture, NAMESPACE, "redis", REDIS, 0);
    wait_for(&fixture.kubectl, NAMESPACE, "redis", "test -s /tmp/monitor.log");
    pods.profile("{protocols: [redis]}");
    let from = pods.on_server("wc -l </tmp/monitor.log").trim().parse::<usize>().unwrap();

    pods.run_python(CLIENT, "");
    pods.on_client(&format!("redis-benchmark -h {} -q -n 1000 -c 5 -P 4 -t set,get", pods.host));

    let log = pods.on_server("cat /tmp/monitor.log");
    let mut monitored: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (peer, command) in log.lines().skip(from).filter_map(monitored_command) {
        monitored.entry(peer).or_default().push(command);
    }
    let count: usize = monitored.values().map(Vec::len).sum();
    assert!(count >= 12_000, "redis has seen {count} commands");

    let all = pods.rows(&["--protocol", "redis"], 2 * count);
    for (role, client) in [("server", "remote"), ("client", "local")] {
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // Redis does not show administration to monitors: the benchmark asks for the configuration first.
        let shown = |row: &&Row| !row.text("operation").starts_with("CONFIG");
        for row in of_role(&all, role).into_iter().filter(shown) {
            let key = row.text("target").split(' ').next().unwrap_or_default();
            seen.entry(row.endpoint(client))
                .or_default()
                .push(format!("{} {key}", row.text("operation").to_uppercase()));
        }
        seen.retain(|peer, _| !peer.starts_with("127."));
        let (seen, expected): (Vec<_>, Vec<_>) = (seen.into_iter().collect(), monitored.clone().into_iter().collect());
        assert_same(&format!("commands of the {role}, by connection"), &seen, &expected);
    }
    let failed = all.iter().filter(|row| row.object["isError"] == true && row.text("role") == "server").count();
    assert_eq!(failed, 2000, "each INCR of a text fails");
    assert!(all.iter().all(|row| !row.object.to_string().contains("secret")), "values are in rows");
}

/// `TIME [0 PEER] "set" "key" "value"` as the peer, and the command with its key.
fn monitored_command(line: &str) -> Option<(String, String)> {
    let (before, words) = line.split_once("] ")?;
    let peer = before.split_once("[0 ")?.1;
    let mut words = words.split('"').skip(1).step_by(2);
    let (command, key) = (words.next()?.to_uppercase(), words.next().unwrap_or_default());
    (!peer.starts_with("127.")).then(|| (peer.to_owned(), format!("{command} {key}")))
}
