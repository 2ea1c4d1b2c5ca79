//! A namespace's label captures its requests on both nodes: rows by kubectl and by our command line, for the tenant of that namespace
//! alone; and when the label goes nothing is left.

use serde_json::Value;
use trilobite_e2e::{
    Fixture, Kubectl, agents,
    clients::{self, Stream, trilobite},
    eventually,
    kernel::{self, FLOWS, PROFILE},
    pods::{self, TestNamespace, Workload},
    profiles,
    read_api::{documented_tables, read, rows_until, wait_until_served},
    users::User,
    wait::that,
};

const STACK: &str = "{security: {mode: Enabled}, network: {mode: OnDemand}, application: {mode: OnDemand}}";
const NAMESPACES: [&str; 2] = ["orders", "vault"];
/// Serves /etc.
const SERVER: &str = r#"[httpd, -f, -p, "8080", -h, /etc]"#;

/// A file that exists and one that does not, again and again.
fn client(address: &str) -> String {
    let get = |path: &str| format!("wget -q -O /dev/null 'http://{address}:8080/{path}'");
    format!(r#"[sh, -c, "while true; do {}; {}; sleep 0.2; done"]"#, get("passwd?token=secret"), get("missing"))
}

fn start_pods(kubectl: &'static Kubectl) -> [TestNamespace; 2] {
    NAMESPACES.map(|namespace| {
        let created = TestNamespace::create(kubectl, namespace);
        Workload { namespace, name: "server", node: "node2", command: SERVER }.start(kubectl);
        let address = pods::address(kubectl, namespace, "server", 0);
        Workload { namespace, name: "client", node: "node1", command: &client(&address) }.start(kubectl);
        created
    })
}

fn is_row(row: &Value, role: &str, target: &str, status: &str) -> bool {
    let object = &row["object"];
    object["role"] == role
        && object["status"] == status
        && object["target"].as_str().is_some_and(|text| text.starts_with(target))
}

#[test]
fn label_shows_requests_to_its_tenant_and_leaves_nothing_behind() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack(STACK);
    wait_until_served(kubectl);
    let _deleted = start_pods(kubectl);
    profiles::delete_all(kubectl);
    let idle = eventually("the kernel has neither a flow nor a profile program", 30, || {
        let objects = kernel::objects();
        that(objects.count(&[FLOWS, PROFILE].concat()) == 0, format!("{objects:?}"))?;
        Ok(objects)
    });
    let none = clients::succeed(&mut trilobite(kubectl, &["requests", "-n", "orders"]));
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(none.stdout.is_empty() && said.contains("no AppProfile asks for requests"), "{said}");

    for namespace in NAMESPACES {
        kubectl.run(&["label", "namespace", namespace, "trilobite.dev/app-profile=http.10m", "--overwrite"]);
    }
    for (role, target, status) in [
        ("server", "/passwd", "200"),
        ("client", "/passwd", "200"),
        ("server", "/missing", "404"),
        ("client", "/missing", "404"),
    ] {
        let rows = rows_until(kubectl, "namespaces/orders/requests", |row| is_row(row, role, target, status));
        let row = rows.iter().find(|row| is_row(row, role, target, status)).unwrap();
        assert_eq!(row["object"]["pod"], role, "{row:#}");
        assert_eq!(row["object"]["operation"], "GET", "{row:#}");
        let (own, other) = (&row["object"]["local"]["ip"], &row["object"]["remote"]["ip"]);
        assert!(own.is_string() && other.is_string() && own != other, "{row:#}");
        assert!(rows.iter().all(|row| row["metadata"]["namespace"] == "orders"), "a row of another namespace");
        assert!(rows.iter().all(|row| !row.to_string().contains("secret")), "the value of a query is in a row");
    }
    assert!(!agents::workers().is_empty(), "no worker runs");

    columns_are_documented(kubectl);
    command_line_selects(kubectl);
    tenant_reads_its_own_alone(kubectl);

    for namespace in NAMESPACES {
        kubectl.run(&["label", "namespace", namespace, "trilobite.dev/app-profile-"]);
    }
    eventually("programs, maps, links and workers are as before", 60, || {
        let (objects, workers) = (kernel::objects(), agents::workers());
        that(objects == idle && workers.is_empty(), format!("workers: {workers:?}\nidle: {idle:?}\nnow: {objects:?}"))
    });
    eventually("there are no rows", 30, || {
        let list = read(kubectl, "requests")?;
        that(list["items"].as_array().is_some_and(Vec::is_empty), format!("{list:#}"))
    });
}

fn columns_are_documented(kubectl: &Kubectl) {
    for table in documented_tables(kubectl, "orders", "requests") {
        assert!(table.contains("GET"), "{table}");
    }
    let watch = ["-n", "orders", "get", "requests.read.trilobite.dev", "--watch", "-o", "json"];
    let watch = Stream::start(kubectl.command(&watch));
    watch.until("kubectl get requests --watch", 30, |line| line.contains("/missing"));
}

fn command_line_selects(kubectl: &Kubectl) {
    let lines =
        |words: &[&str]| clients::json_lines(trilobite(kubectl, &[&["requests", "-o", "json"][..], words].concat()));
    let errors = lines(&["-n", "orders", "--errors", "--pod", "server", "--limit", "5"]);
    assert!(!errors.is_empty() && errors.len() <= 5, "{errors:#?}");
    let is_asked_for = |row: &Value| row["pod"] == "server" && row["isError"] == true && row["status"] == "404";
    assert!(errors.iter().all(is_asked_for), "{errors:#?}");
    assert_eq!(lines(&["-n", "orders", "--slower-than", "1h"]).len(), 0);
    let both = lines(&["-A", "--limit", "500"]);
    assert!(NAMESPACES.iter().all(|namespace| both.iter().any(|row| row["namespace"] == *namespace)), "{both:#?}");
    let followed = Stream::start(trilobite(kubectl, &["requests", "-n", "orders", "-f", "-o", "json"]));
    followed.until("trilobite requests -f", 30, |line| line.contains("\"client\""));
}

fn tenant_reads_its_own_alone(kubectl: &Kubectl) {
    let tenant = User::create(kubectl, "orders", "reads-requests");
    tenant.bind(kubectl, "orders", "trilobite-read");
    let rows = rows_until(&tenant.kubectl, "namespaces/orders/requests", |_| true);
    assert!(rows.iter().all(|row| row["object"]["namespace"] == "orders"), "a row of another namespace");
    let words = ["-n", "vault", "get", "requests.read.trilobite.dev"];
    tenant.is_refused(&words, "cannot list resource", "\"requests\"");
    tenant.is_refused(&["get", "requests.read.trilobite.dev", "-A"], "cannot list resource", "\"requests\"");
    tenant.command_is_refused(&["requests", "-n", "vault"], "cannot list resource", "\"requests\"");
    tenant.command_is_refused(&["requests", "-n", "vault", "-f"], "cannot watch resource", "\"requests\"");
    let selector = "namespaces/orders/requests?fieldSelector=metadata.namespace%3Dvault";
    let list = read(&tenant.kubectl, selector).unwrap();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0), "{list:#}");
    let viewer = User::create(kubectl, "orders", "views");
    viewer.bind(kubectl, "orders", "view");
    let words = ["-n", "orders", "get", "requests.read.trilobite.dev"];
    viewer.is_refused(&words, "cannot list resource", "\"requests\"");
}
