//! A tenant's day, with a kubeconfig that holds a ServiceAccount's token alone: it reads its own namespace by kubectl and by our
//! command line, and nothing of another's.

use serde_json::Value;
use trilobite_e2e::{
    Fixture,
    clients::{self, Stream, trilobite},
    eventually,
    pods::{self, Workload},
    read_api::{API, rows_until, wait_until_served},
    users::User,
    wait::that,
};

const STACK: &str = "{security: {mode: Enabled}, network: {mode: Enabled}, application: {mode: OnDemand}}";
/// Two executions and a connection to itself each second.
const BUSY: &str = r#"[sh, -c, "while true; do /bin/ls /seen-by-tenant >/dev/null 2>&1; netecho send tcp $POD_PEER 7000 100; sleep 0.5; done"]"#;

struct Tenants {
    fixture: &'static Fixture,
    payments: User,
}

impl Tenants {
    fn prepare() -> Self {
        let fixture = Fixture::shared();
        fixture.stack(STACK);
        wait_until_served(&fixture.kubectl);
        for namespace in ["payments", "ledger"] {
            pods::namespace(&fixture.kubectl, namespace);
            for (name, node) in [("one", "node1"), ("two", "node2")] {
                Workload { namespace, name, node, command: r#"[netecho, serve, "7000"]"# }.start(&fixture.kubectl);
            }
            let peer = pods::address(&fixture.kubectl, namespace, "two", 0);
            let command = BUSY.replace("$POD_PEER", &peer);
            Workload { namespace, name: "busy", node: "node1", command: &command }.start(&fixture.kubectl);
            Workload { namespace, name: "primes", node: "node2", command: "[burn_primes]" }.start(&fixture.kubectl);
        }
        let payments = User::create(&fixture.kubectl, "payments", "team");
        payments.bind(&fixture.kubectl, "payments", "edit");
        payments.bind(&fixture.kubectl, "payments", "trilobite-edit");
        fixture.kubectl.apply(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: e2e-label-namespace}\n\
             rules: [{apiGroups: [\"\"], resources: [namespaces], verbs: [get, patch]}]\n",
        );
        payments.bind(&fixture.kubectl, "payments", "e2e-label-namespace");
        Self { fixture, payments }
    }

    fn end(self) {
        for namespace in ["payments", "ledger"] {
            self.fixture.kubectl.run(&["delete", "namespace", namespace, "--wait=false"]);
        }
        self.fixture.kubectl.run(&["delete", "clusterrole", "e2e-label-namespace"]);
    }
}

#[test]
fn tenant_reads_its_own_namespace_by_kubectl_and_by_trilobite() {
    let tenants = Tenants::prepare();
    let team = &tenants.payments;
    team.kubectl.run(&["label", "namespace", "payments", "team=payments", "--overwrite"]);

    // A profile: while it runs, and after it.
    team.kubectl.apply(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: hot, namespace: payments}\n\
         spec: {podSelector: {matchLabels: {app: primes}}, cpu: {}, durationSeconds: 15}\n",
    );
    let running = rows_until(&team.kubectl, "namespaces/payments/profiles", |row| {
        row["metadata"]["name"] == "hot" && row["object"]["state"] == "Running"
    });
    assert!(running.iter().all(|row| row["metadata"]["namespace"] == "payments"), "{running:#?}");
    let svg = std::env::temp_dir().join("trilobite-e2e-tenant.svg");
    let fetch = ["profile", "--name", "payments/hot", "-v", "-o", svg.to_str().unwrap()];
    let while_it_runs = clients::succeed(&mut trilobite(&team.kubectl, &fetch));
    let said = String::from_utf8_lossy(&while_it_runs.stderr).into_owned();
    assert!(said.contains("reading through the API server: read.trilobite.dev"), "{said}");
    assert!(
        std::fs::read_to_string(&svg).unwrap().contains("burn_primes"),
        "the flame graph does not name the function"
    );
    let path = format!("{API}/namespaces/payments/profiles/hot");
    let folded = team.kubectl.run(&["get", "--raw", &format!("{path}/folded")]);
    assert!(folded.lines().any(|line| line.contains("burn_primes")), "{folded}");
    assert!(team.kubectl.run(&["get", "--raw", &format!("{path}/flamegraph")]).contains("<svg"));
    let pprof = team.kubectl.output(&["get", "--raw", &format!("{path}/pprof")]);
    assert!(pprof.status.success() && pprof.stdout.starts_with(&[0x1f, 0x8b]), "{:?}", pprof.stderr);
    clients::succeed(&mut trilobite(&team.kubectl, &fetch));

    // Flows and events: listed, selected and watched.
    let flows = rows_until(&team.kubectl, "namespaces/payments/flows?limit=200", |_| true);
    assert!(flows.iter().all(|row| has_end_in(row, "payments")), "a flow without an end in the namespace");
    let table = team.kubectl.run(&["-n", "payments", "get", "flows.read.trilobite.dev"]);
    assert!(table.starts_with("TIME") && table.contains("FORWARDED"), "{table}");
    let one = ["-n", "payments", "get", "flows.read.trilobite.dev", "--field-selector", "pod=busy", "-o", "json"];
    let one: Value = serde_json::from_str(&team.kubectl.run(&one)).unwrap();
    assert!(one["items"].as_array().is_some_and(|items| !items.is_empty()), "{one:#}");
    // kubectl's own JSON of a list has its items alone.
    let one =
        trilobite_e2e::read_api::read(&team.kubectl, "namespaces/payments/flows?fieldSelector=pod%3Dbusy").unwrap();
    assert_eq!(one["coverage"]["nodes"]["asked"], 2, "{:#}", one["coverage"]);
    for (resource, seen) in [("events", "seen-by-tenant"), ("flows", "busy")] {
        let name = format!("{resource}.read.trilobite.dev");
        let watch = ["-n", "payments", "get", &name, "--watch", "-o", "json"];
        let watch = Stream::start(team.kubectl.command(&watch));
        watch.until(&format!("kubectl get {resource} --watch"), 30, |line| line.contains(seen));
    }
    let events = ["events", "-n", "payments", "--count", "5", "--for", "30s", "-o", "json"];
    for event in clients::json_lines(trilobite(&team.kubectl, &events)) {
        let pod = &event["process_exec"]["process"]["pod"]["namespace"];
        let exit = &event["process_exit"]["process"]["pod"]["namespace"];
        assert!(pod == "payments" || exit == "payments", "{event}");
    }
    let observed = clients::json_lines(trilobite(&team.kubectl, &["observe", "-n", "payments", "-o", "json"]));
    assert!(!observed.is_empty() && observed.iter().all(|flow| flow["flow"].is_object()), "{observed:?}");
    tenants.end();
}

fn has_end_in(row: &Value, namespace: &str) -> bool {
    ["source", "destination"].iter().any(|end| row["object"]["flow"][end]["namespace"] == namespace)
}

#[test]
fn twelve_ways_to_another_namespace_are_refused_with_the_missing_verb() {
    let tenants = Tenants::prepare();
    let team = &tenants.payments;
    tenants.fixture.kubectl.apply(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: theirs, namespace: ledger}\n\
         spec: {podSelector: {matchLabels: {app: primes}}, cpu: {}, durationSeconds: 5}\n",
    );
    rows_until(&tenants.fixture.kubectl, "namespaces/ledger/profiles", |row| row["object"]["state"] != "Running");

    // 1 to 3: lists of the other namespace.
    for resource in ["events", "flows", "profiles"] {
        let name = format!("{resource}.read.trilobite.dev");
        team.is_refused(&["-n", "ledger", "get", &name], "cannot list resource", &format!("\"{resource}\""));
    }
    // 4: the whole cluster.
    for resource in ["events", "flows", "profiles"] {
        let name = format!("{resource}.read.trilobite.dev");
        team.is_refused(&["get", &name, "-A"], "cannot list resource", &format!("\"{resource}\""));
    }
    // 5: a watch.
    for resource in ["events", "flows"] {
        let path = format!("{API}/namespaces/ledger/{resource}?watch=true");
        team.is_refused(&["get", "--raw", &path], "cannot watch resource", &format!("\"{resource}\""));
    }
    // 6 and 7: a profile, and each form of its result.
    team.is_refused(
        &["-n", "ledger", "get", "profiles.read.trilobite.dev", "theirs"],
        "cannot get resource",
        "\"profiles\"",
    );
    for form in ["flamegraph", "folded", "pprof"] {
        let path = format!("{API}/namespaces/ledger/profiles/theirs/{form}");
        team.is_refused(&["get", "--raw", &path], "cannot get resource", &format!("\"profiles/{form}\""));
    }
    // 8: the nodes.
    team.is_refused(&["get", "nodes.read.trilobite.dev"], "cannot list resource", "\"nodes\"");
    // 9: our command line.
    team.command_is_refused(&["observe", "-n", "ledger"], "cannot list resource", "\"flows\"");
    team.command_is_refused(&["observe", "-n", "ledger", "-f"], "cannot watch resource", "\"flows\"");
    team.command_is_refused(&["events", "-n", "ledger"], "cannot watch resource", "\"events\"");
    team.command_is_refused(&["events"], "cannot watch resource", "\"events\"");
    team.command_is_refused(&["profile", "--name", "ledger/theirs"], "get profiles", "in namespace ledger");
    // 10: the agents' pods.
    let agent = trilobite_e2e::agents::pod_on(&tenants.fixture.kubectl, "node1");
    let exec = ["-n", "trilobite-system", "exec", &agent, "--", "/trilobite-node", "proxy"];
    team.is_refused(&exec, "cannot get resource", "\"pods\"");
    // 11: another user's name. Which verb and resource are missing differs between versions of Kubernetes.
    let path = format!("{API}/namespaces/ledger/flows");
    let as_admin = ["--as=system:admin", "--as-group=system:masters", "get", "--raw", &path];
    team.is_refused(&as_admin, "cannot impersonate", "is forbidden");
    // 12: selectors in the own namespace show nothing of the other.
    for selector in ["fieldSelector=metadata.namespace%3Dledger", "fieldSelector=metadata.namespace%3Dkube-system"] {
        let rows =
            trilobite_e2e::read_api::read(&team.kubectl, &format!("namespaces/payments/flows?{selector}")).unwrap();
        assert_eq!(rows["items"].as_array().map(Vec::len), Some(0), "{selector}: {:#}", rows["items"]);
    }
    // A relay that is asked without the API server knows no user.
    let relay = tenants.fixture.kubectl.run(&[
        "-n",
        "trilobite-system",
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=trilobite-relay",
        "-o=jsonpath={.items[0].status.podIP}",
    ]);
    let url = format!("https://{relay}:8443{API}/namespaces/ledger/flows");
    let curl = std::process::Command::new("curl")
        .args([
            "-ksS",
            "--max-time",
            "10",
            "-H",
            "X-Remote-User: system:admin",
            "-H",
            "X-Remote-Group: system:masters",
            &url,
        ])
        .output();
    if let Ok(curl) = curl {
        let said = String::from_utf8_lossy(&curl.stdout).into_owned();
        eventually("the relay refuses a stranger", 1, || that(!said.contains("FlowList"), &said));
    }
    tenants.end();
}
