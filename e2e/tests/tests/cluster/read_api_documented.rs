//! The examples of docs/read-api.md are shortened; each of their fields, and each column, is in the answers of a real cluster.

use serde_json::Value;
use trilobite_e2e::{
    Fixture,
    pods::{self, Workload},
    read_api::{documented_tables, page, read, rows_until, wait_until_served},
};

const STACK: &str = "{security: {mode: Enabled}, network: {mode: Enabled}, application: {mode: OnDemand}}";
const PROFILE: &str = "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: from-docs, namespace: documented}\n\
                       spec: {podSelector: {matchLabels: {app: primes}}, cpu: {}, durationSeconds: 5}\n";

/// The first JSON of a page after a text.
#[track_caller]
fn example(page: &str, after: &str) -> Value {
    let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("the page lacks {after:?}"));
    let begin = rest.find("\n{").unwrap_or_else(|| panic!("no JSON after {after:?}"));
    let mut values = serde_json::Deserializer::from_str(&rest[begin..]).into_iter::<Value>();
    values.next().unwrap().unwrap()
}

/// Fields of the example that the real value lacks or that have another type there. Of a list the first element counts.
fn missing(example: &Value, real: &Value, path: &str, found: &mut Vec<String>) {
    match (example, real) {
        (Value::Object(fields), Value::Object(real)) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                match real.get(name) {
                    // Which labels a pod has is its owner's business.
                    Some(_) if name == "labels" => {}
                    Some(real) => missing(value, real, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(values), Value::Array(real)) => {
            if let (Some(value), Some(real)) = (values.first(), real.first()) {
                missing(value, real, path, found);
            }
        }
        _ if std::mem::discriminant(example) == std::mem::discriminant(real) => {}
        _ => found.push(path.to_owned()),
    }
}

#[track_caller]
fn has_every_field(example: &Value, real: &Value) {
    let mut found = Vec::new();
    missing(example, real, "", &mut found);
    assert!(found.is_empty(), "{found:?} of docs/read-api.md are not in\n{real:#}");
}

#[test]
fn documented_fields_and_columns_are_those_of_a_real_cluster() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack(STACK);
    wait_until_served(kubectl);
    pods::namespace(kubectl, "documented");
    let serve = r#"[netecho, serve, "7000"]"#;
    Workload { namespace: "documented", name: "cart", node: "node2", command: serve }.start(kubectl);
    let address = pods::address(kubectl, "documented", "cart", 0);
    let talk = format!(r#"[sh, -c, "while true; do netecho send tcp {address} 7000 100; sleep 0.5; done"]"#);
    Workload { namespace: "documented", name: "client", node: "node1", command: &talk }.start(kubectl);
    Workload { namespace: "documented", name: "primes", node: "node2", command: "[burn_primes]" }.start(kubectl);
    kubectl.apply(PROFILE);

    let page = page();
    let is_to_cart = |row: &Value| row["object"]["flow"]["destination"]["pod_name"] == "cart";
    let flows = rows_until(kubectl, "namespaces/documented/flows?limit=200", is_to_cart);
    let flow = flows.iter().find(|row| is_to_cart(row)).unwrap();
    has_every_field(&example(&page, "\n## An object\n"), flow);

    let profiles = rows_until(kubectl, "namespaces/documented/profiles", |row| row["object"]["state"] == "Done");
    has_every_field(&example(&page, "A Profile is named like its AppProfile"), &profiles[0]["object"]);

    let list = read(kubectl, "namespaces/documented/flows?limit=500").unwrap();
    let mut coverage = example(&page, "\n## Lists\n");
    // Every node answers here.
    coverage.as_object_mut().unwrap().remove("problems");
    has_every_field(&coverage, &list["coverage"]);

    for resource in ["events", "flows", "profiles", "nodes"] {
        documented_tables(kubectl, "documented", resource);
    }
    kubectl.run(&["delete", "namespace", "documented", "--wait=false"]);
}
