//! Four users and three namespaces, by kubectl, by our command line and by the bare path: each sees its own only, and agents never
//! send a row of a namespace that the caller may not read.

use std::{thread, time::Duration};

use serde_json::Value;
use trilobite_e2e::{
    Fixture,
    clients::{self, trilobite},
    pods::{self, Workload},
    read_api::{RowCounts, read, rows_until, wait_until_served},
    users::User,
};

const METRICS_PORT: u16 = 9464;
const NAMESPACES: [&str; 3] = ["orchid", "poppy", "quince"];
const LISTS: &str = r#"[sh, -c, "while true; do /bin/ls / >/dev/null; sleep 0.3; done"]"#;

/// A user and what it may read; none of the list means the whole cluster.
struct Reader {
    user: User,
    may_read: &'static [&'static str],
}

fn stack() -> String {
    format!(
        "{{security: {{mode: Enabled}}, network: {{mode: Enabled}}, metrics: {{enabled: true, port: {METRICS_PORT}}}}}"
    )
}

fn readers(fixture: &Fixture) -> Vec<Reader> {
    let reader = |name: &str, may_read: &'static [&'static str]| {
        let user = User::create(&fixture.kubectl, "default", name);
        may_read.iter().for_each(|namespace| user.bind(&fixture.kubectl, namespace, "trilobite-read"));
        Reader { user, may_read }
    };
    vec![
        reader("reads-none", &[]),
        reader("reads-orchid", &["orchid"]),
        reader("reads-two", &["orchid", "poppy"]),
        reader("reads-all-three", &NAMESPACES),
    ]
}

#[test]
fn each_user_sees_its_own_namespaces_and_agents_send_no_other_row() {
    let fixture = Fixture::shared();
    fixture.stack(&stack());
    wait_until_served(&fixture.kubectl);
    for (namespace, node) in NAMESPACES.into_iter().zip(["node1", "node2", "node1"]) {
        pods::namespace(&fixture.kubectl, namespace);
        Workload { namespace, name: "busy", node, command: LISTS }.start(&fixture.kubectl);
    }
    for Reader { user, may_read } in readers(fixture) {
        for namespace in NAMESPACES {
            let path = format!("namespaces/{namespace}/events?forSeconds=3");
            if may_read.contains(&namespace) {
                let rows = rows_until(&user.kubectl, &path, |_| true);
                assert!(rows.iter().all(|row| row["metadata"]["namespace"] == namespace), "{}: {rows:#?}", user.name);
                let words = ["events", "-n", namespace, "--count", "2", "--for", "20s", "-o", "json"];
                for event in clients::json_lines(trilobite(&user.kubectl, &words)) {
                    assert!(is_in(&event, namespace), "{}: {event}", user.name);
                }
                // kubectl's own JSON of a list has its items alone.
                let list = read(&user.kubectl, &path).unwrap();
                assert_eq!(list["coverage"]["nodes"]["asked"], 2, "{:#}", list["coverage"]);
            } else {
                let refused = read(&user.kubectl, &path).unwrap_err();
                assert!(refused.contains("cannot list resource \"events\""), "{}: {refused}", user.name);
                user.is_refused(&["-n", namespace, "get", "events.read.trilobite.dev"], "cannot list", "\"events\"");
                user.command_is_refused(&["events", "-n", namespace], "cannot watch", "\"events\"");
            }
        }
        user.is_refused(&["get", "events.read.trilobite.dev", "-A"], "cannot list", "\"events\"");
    }
    withheld_rows_are_counted(fixture);
    for namespace in NAMESPACES {
        fixture.kubectl.run(&["delete", "namespace", namespace, "--wait=false"]);
    }
}

/// The agent of a node with two busy namespaces: what one caller may not read is counted, and not sent.
fn withheld_rows_are_counted(fixture: &Fixture) {
    let user = User::create(&fixture.kubectl, "default", "reads-orchid");
    let counts = || RowCounts::of_node(&fixture.kubectl, "node1", METRICS_PORT, "events");
    thread::sleep(Duration::from_secs(2));
    let before = counts();
    let rows = rows_until(&user.kubectl, "namespaces/orchid/events?forSeconds=10", |_| true);
    let after = counts();
    let (sent, withheld) = (after.sent - before.sent, after.withheld - before.withheld);
    let received = rows.len() as u64;
    println!("{received} rows received, {sent} sent by node1, {withheld} withheld");
    // The last rows may be on their way when the relay ends the call.
    assert!(sent >= received && sent <= received + 20, "{sent} sent, {received} received");
    assert!(withheld > 10, "quince runs on node1 as well: {withheld} withheld");
}

fn is_in(event: &Value, namespace: &str) -> bool {
    ["process_exec", "process_exit"].iter().any(|kind| event[kind]["process"]["pod"]["namespace"] == namespace)
        || !event["rate_limit_info"].is_null()
}
