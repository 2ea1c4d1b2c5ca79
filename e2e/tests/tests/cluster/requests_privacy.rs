//! Secrets in headers, cookies, bodies, SQL, Redis and URLs are in no row, status, log, result or memory of ours. Bodies are in rows
//! where the stack allows payloads, and there alone.

use std::{fs, path::Path, process::Command};

use trilobite_e2e::{
    Fixture, Kubectl, agents,
    clients::{socket, succeed, trilobite},
    eventually,
    fixture::{NAMESPACE, binary, condition},
    memory::memory_with,
    pods::TestNamespace,
    profiles::{profile_yaml, start_profile},
    read_api::wait_until_served,
    servers::{Row, ServerAndClient},
    wait::that,
};

/// Every secret begins with the first; the second is how it begins in base64, behind a name of two letters.
const SECRETS: [&str; 2] = ["anglerfish-", "bWU6YW5nbGVyZmlz"];
/// Beginning of the bodies of requests and answers.
const BODY: &str = "anglerfish-body";
/// HTTP requests of a client, each on a connection of its own.
const REQUESTS: usize = 300;

/// PostgreSQL, Redis, and HTTP that answers with the body and the cookie of the request.
const SERVER: &str = r#"export HOME=/tmp
initdb -D /tmp/data -U app --auth=trust --no-locale -E UTF8 >/tmp/initdb.log
echo "host all diver all password" >>/tmp/data/pg_hba.conf
echo "host all all all trust" >>/tmp/data/pg_hba.conf
postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off 2>/tmp/postgres.log &
redis-server --save '' --protected-mode no --dir /tmp --daemonize yes >/tmp/redis.log
cat >/tmp/echo.py <<'PY'
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Echo(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        for name, value in (('Set-Cookie', self.headers['Cookie']), ('Location', self.path), ('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
ThreadingHTTPServer(('', 8080), Echo).serve_forever()
PY
exec python3 /tmp/echo.py"#;

/// Sends every kind of secret.
const HTTP: &str = r#"
import http.client, sys
secret = 'anglerfish-'
headers = {
    'Authorization': 'Bearer ' + secret + 'bearer', 'Proxy-Authorization': 'Basic bWU6YW5nbGVyZmlzaC1iYXNpYw==',
    'Cookie': 'session=' + secret + 'cookie', 'X-Reef': secret + 'listed', 'X-Api-Key': secret + 'key',
    'Referer': 'http://reef/?token=' + secret + 'referer', 'Content-Type': 'text/plain',
}
for n in range(int(sys.argv[2])):
    c = http.client.HTTPConnection(sys.argv[1], 8080)
    c.request('POST', '/item/%d?token=%squery&other=%sother' % (n, secret, secret), body=secret + 'body ' * 9, headers=headers)
    assert c.getresponse().read().startswith(b'anglerfish-')
    c.close()
"#;
const SQL: &str = r#"
import io, psycopg2, sys
secret = 'anglerfish-'
def connect(**words):
    c = psycopg2.connect(host=sys.argv[1], dbname='postgres', **words); c.autocommit = True; return c
c = connect(user='app'); q = c.cursor()
q.execute("create role diver login password '%srole'" % secret)
q.execute("create table words (word text)")
for n in range(20):
    q.execute("insert into words values (%s)", (secret + 'value',))
    q.execute("select word, $$%sdollar$$, E'it\\'s %sescaped' from words" % (secret, secret)); q.fetchall()
q.copy_expert("copy words from stdin", io.StringIO(secret + 'copy\n'))
q.execute("prepare p as select $1::text"); q.execute("execute p('%sexecute')" % secret)
try: q.execute("select '%serror'::int" % secret)
except psycopg2.Error: pass
c.close()
connect(user='diver', password=secret + 'role').close()
"#;
const REDIS: &str = r#"
import redis, sys
secret = 'anglerfish-'
r = redis.Redis(host=sys.argv[1], single_connection_client=True)
def failing(*words):
    try: r.execute_command(*words)
    except redis.RedisError: pass
for n in range(20):
    r.set('key', secret + 'value'); assert r.get('key'); r.hset('hash', 'field', secret + 'field'); r.hgetall('hash')
r.eval('return ARGV[1]', 0, secret + 'argument'); r.publish('channel', secret + 'message')
failing('AUTH', secret + 'auth'); failing('AUTH', 'diver', secret + 'auth'); failing('NOSUCH', secret + 'unknown')
r.close()
"#;

fn start_pods(fixture: &'static Fixture, namespace: &'static str) -> ServerAndClient {
    let pods = ServerAndClient::start(fixture, namespace, "server", SERVER, 70);
    let host = &pods.host;
    pods.wait_for_client(&format!(
        "psql -h {host} -U app -d postgres -c 'select 1' && redis-cli -h {host} ping | grep PONG && \
         curl -sf -d ready http://{host}:8080/ready"
    ));
    pods
}

fn run_client(pods: &ServerAndClient, program: &str) {
    pods.run_python(program, &REQUESTS.to_string());
}

#[track_caller]
fn assert_no_secret(what: &str, text: &str) {
    for secret in SECRETS {
        let Some(at) = text.find(secret) else { continue };
        let near: String = text[..at].chars().rev().take(200).collect();
        panic!("{what} has {:?} behind {:?}", &text[at..].lines().next(), near.chars().rev().collect::<String>());
    }
}

/// What people and programs read of rows, in every form.
fn printed_rows(kubectl: &Kubectl, namespace: &str) -> String {
    let limit = ["requests", "-n", namespace, "--limit", "5000"];
    let printed = |words: &[&str]| {
        let done = succeed(&mut trilobite(kubectl, &[&limit[..], words].concat()));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let list = format!("/apis/read.trilobite.dev/v1alpha1/namespaces/{namespace}/requests");
    [
        printed(&[]),
        printed(&["-o", "wide"]),
        printed(&["-o", "json"]),
        kubectl.run(&["-n", namespace, "get", "requests.read.trilobite.dev", "-o", "wide"]),
        kubectl.run(&["get", "--raw", &list]),
    ]
    .join("\n")
}

fn statuses_and_logs_have_no_secret(kubectl: &Kubectl) {
    let kinds = "appprofiles,noderuntimes,nodeprofiles,observabilitystacks,events";
    assert_no_secret("an object", &kubectl.run(&["get", kinds, "-A", "-o", "yaml"]));
    let pods = kubectl.run(&["-n", NAMESPACE, "get", "pods", "-o", "name"]);
    for pod in pods.lines() {
        // A pod that is ending has no log any more.
        let log = kubectl.ask(&["-n", NAMESPACE, "logs", pod, "--all-containers"]).unwrap_or_default();
        assert_no_secret(&format!("the log of {pod}"), &log);
    }
}

/// Writable memory of agents and workers with a secret in it.
fn memory_with_secrets() -> Vec<String> {
    let agents = ["node1", "node2"].map(agents::pid_on).map(|pid| (pid, "agent"));
    let workers = agents::workers().into_iter().map(|pid| (pid, "worker"));
    let processes = agents.into_iter().chain(workers);
    processes
        .flat_map(|(pid, name)| memory_with(pid, &SECRETS).into_iter().map(move |found| format!("{name}: {found}")))
        .collect()
}

fn disk_has_no_secret(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            disk_has_no_secret(&path);
        } else if let Ok(bytes) = fs::read(&path) {
            assert_no_secret(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

fn result_has_no_secret(name: &str) {
    for node in ["node1", "node2"] {
        let file = std::env::temp_dir().join(format!("trilobite-e2e-privacy-{node}.folded"));
        eventually("the node has the flame graph", 60, || {
            let mut command = Command::new(binary("trilobite"));
            command.arg("--socket").arg(socket(node)).args(["profile", name, "-o"]).arg(&file);
            let done = command.output().unwrap();
            that(done.status.success(), String::from_utf8_lossy(&done.stderr))
        });
        assert_no_secret(&format!("the result of {node}"), &fs::read_to_string(&file).unwrap());
        fs::remove_file(file).unwrap();
    }
}

fn of_protocol(rows: &[Row], protocol: &str) -> usize {
    rows.iter().filter(|row| row.text("protocol") == protocol).count()
}

#[test]
fn secrets_are_in_nothing_that_is_kept_or_shown() {
    const HERE: &str = "requests-privacy";
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{security: {mode: Enabled}, application: {mode: OnDemand}}");
    wait_until_served(kubectl);
    let pods = start_pods(fixture, HERE);
    let spec = "podSelector: {}, cpu: {frequencyHz: 499}, requests: {redact: {headers: [X-Reef]}}, durationSeconds: 1800, \
                memoryBudgetBytes: 67108864";
    start_profile(kubectl, HERE, "all", spec);
    for program in [HTTP, SQL, REDIS] {
        run_client(&pods, program);
    }
    let all = pods.rows(&[], 2 * (REQUESTS + 100));
    assert_eq!(of_protocol(&all, "http"), 2 * REQUESTS);
    assert!(of_protocol(&all, "pgsql") >= 80 && of_protocol(&all, "redis") >= 160, "{} rows", all.len());
    for row in &all {
        assert_no_secret("a row", &format!("{:#}", row.object));
    }
    let redacted = all.iter().filter(|row| row.text("target").contains("token=<redacted>")).count();
    assert_eq!(redacted, 2 * REQUESTS, "names of query parameters are kept");
    let printed = printed_rows(kubectl, HERE);
    assert!(printed.contains("/item/"), "{printed}");
    assert_no_secret("what is printed of rows", &printed);
    // Counts of the last rows are on their way to the status.
    eventually("the status has the rows", 30, || {
        let object = kubectl.get(&["-n", HERE, "appprofile", "all"])?;
        let seen = condition(&object, "RowsSeen").is_some_and(|seen| seen["status"] == "True");
        that(seen, format!("{:#}", object["status"]))
    });
    statuses_and_logs_have_no_secret(kubectl);
    let in_memory = memory_with_secrets();
    kubectl.run(&["-n", HERE, "delete", "appprofile", "all"]);
    result_has_no_secret(&format!("{HERE}/all"));
    disk_has_no_secret(Path::new("/var/lib/trilobite"));
    assert!(in_memory.is_empty(), "a core dump would show secrets:\n{}", in_memory.join("\n"));
}

#[test]
#[ignore = "make test-long"]
fn bodies_are_in_rows_of_the_allowed_namespace_alone() {
    const ALLOWED: &str = "requests-payload";
    const REFUSED: &str = "requests-no-payload";
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    let selector = format!("{{matchLabels: {{kubernetes.io/metadata.name: {ALLOWED}}}}}");
    fixture
        .stack(&format!("{{security: {{mode: Enabled}}, application: {{mode: OnDemand, allowPayloads: {selector}}}}}"));
    let pods = start_pods(fixture, ALLOWED);
    let _deleted = TestNamespace::create(kubectl, REFUSED);
    for (name, requests) in [("bodies", "payload: {maxBytes: 64}"), ("literals", "redact: {literals: Keep}")] {
        let spec = format!("podSelector: {{}}, requests: {{{requests}}}");
        kubectl.apply(&profile_yaml(REFUSED, name, &spec));
        eventually("the profile is refused", 30, || {
            let object = kubectl.get(&["-n", REFUSED, "appprofile", name])?;
            let accepted = condition(&object, "Accepted").cloned().unwrap_or_default();
            let refused = accepted["status"] == "False" && accepted["reason"] == "PayloadsNotAllowed";
            that(refused, format!("{:#}", object["status"]))
        });
    }
    let spec = "podSelector: {}, requests: {protocols: [http], payload: {maxBytes: 64}, redact: {headers: [X-Reef]}}, \
                durationSeconds: 1800";
    start_profile(kubectl, ALLOWED, "bodies", spec);
    run_client(&pods, HTTP);
    let all = pods.rows(&["--protocol", "http"], 2 * REQUESTS);
    assert_eq!(all.len(), 2 * REQUESTS);
    for row in &all {
        let columns = row.object["columns"].as_object().unwrap();
        for body in ["req_body", "resp_body"] {
            assert!(columns[body].as_str().is_some_and(|body| body.starts_with(BODY)), "{:#}", row.object);
        }
        let mut without = row.object.clone();
        without["columns"].as_object_mut().unwrap().retain(|name, _| !name.ends_with("_body"));
        assert_no_secret("a row outside of its bodies", &format!("{without:#}"));
    }
    statuses_and_logs_have_no_secret(kubectl);
    disk_has_no_secret(Path::new("/var/lib/trilobite"));
}
