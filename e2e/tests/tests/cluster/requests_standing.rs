//! The standing profile of one namespace of three has the requests of its pods from their first one on, and of no other pod. When it
//! is switched off nothing is left.

use trilobite_e2e::{
    Fixture, Kubectl, agents, eventually,
    fixture::condition,
    kernel,
    pods::{TestNamespace, Workload},
    profiles,
    read_api::{read, wait_until_served},
    servers::{Row, latest_rows, of_role},
    wait::that,
};

const NAMESPACES: [&str; 3] = ["standing-one", "standing-two", "standing-three"];
const SELECTED: &str = NAMESPACES[1];
/// With security the relay always runs.
const OFF: &str = "{security: {mode: Enabled}, network: {mode: OnDemand}, application: {mode: OnDemand}}";

/// Serves /etc, and asks for files with numbers, from 1 on.
const COUNTS: &str = r#"[sh, -c, "httpd -p 8080 -h /etc; n=1; while true; do wget -q -O /dev/null http://127.0.0.1:8080/n-$n; n=$((n+1)); sleep 0.5; done"]"#;

fn on() -> String {
    let selector = format!("{{matchLabels: {{kubernetes.io/metadata.name: {SELECTED}}}}}");
    format!(
        "{{security: {{mode: Enabled}}, network: {{mode: OnDemand}}, application: {{mode: Enabled, requests: {{protocols: \
         [http]}}, namespaceSelector: {selector}}}}}"
    )
}

/// The first paths that a pod asked for, in the order of its rows.
fn first_paths<'a>(rows: &'a [Row], pod: &str, role: &str) -> Vec<&'a str> {
    let of_pod = of_role(rows, role).into_iter().filter(|row| row.text("pod") == pod);
    of_pod.map(|row| row.text("target")).take(10).collect()
}

fn stack_has_rows(kubectl: &Kubectl) -> Result<(), String> {
    let stack = kubectl.get(&["observabilitystack", "default"])?;
    let seen = condition(&stack, "RowsSeen").is_some_and(|seen| seen["status"] == "True");
    that(seen, format!("{:#}", stack["status"]))
}

#[test]
fn standing_profile_has_first_requests_of_its_namespace_alone() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack(OFF);
    wait_until_served(kubectl);
    let idle = profiles::delete_all(kubectl);
    let _deleted = NAMESPACES.map(|namespace| TestNamespace::create(kubectl, namespace));
    fixture.stack(&on());
    eventually("both nodes have a worker", 60, || {
        that(agents::workers().len() == 2, format!("{:?}", agents::workers()))
    });
    for namespace in NAMESPACES {
        for (name, node) in [("first", "node1"), ("second", "node2")] {
            Workload { namespace, name, node, command: COUNTS }.start(kubectl);
        }
    }
    let selected = eventually("the pods of the selected namespace have rows", 60, || {
        let rows = latest_rows(kubectl, SELECTED);
        that(
            first_paths(&rows, "first", "server").len().min(first_paths(&rows, "second", "server").len()) == 10,
            rows.len(),
        )?;
        Ok(rows)
    });
    for namespace in NAMESPACES.into_iter().filter(|namespace| *namespace != SELECTED) {
        let rows = latest_rows(kubectl, namespace);
        assert!(rows.is_empty(), "{} rows of {namespace}", rows.len());
    }
    let expected: Vec<String> = (1..=10).map(|number| format!("/n-{number}")).collect();
    for pod in ["first", "second"] {
        for role in ["client", "server"] {
            assert_eq!(first_paths(&selected, pod, role), expected, "{pod} as {role}");
        }
    }
    let list = read(kubectl, "requests").unwrap();
    let items = list["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|row| row["metadata"]["namespace"] == SELECTED), "{list:#}");
    eventually("the stack's RowsSeen says so", 90, || stack_has_rows(kubectl));

    fixture.stack(OFF);
    eventually("programs, maps, links and workers are as before", 60, || {
        let (objects, workers) = (kernel::objects(), agents::workers());
        that(objects == idle && workers.is_empty(), format!("workers: {workers:?}\nidle: {idle:?}\nnow: {objects:?}"))
    });
    let list = read(kubectl, "requests").unwrap();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0), "{list:#}");
}
