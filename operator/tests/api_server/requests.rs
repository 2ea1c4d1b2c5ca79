//! AppProfiles that ask for requests, the standing profile of the stack, and the words of a namespace's label.

use serde_json::{Value, json};

use crate::{
    fake_agent::Behaviour,
    test_cluster::{STACK, TestCluster, condition, eventually, stack, with_test_cluster},
};

const SLOW: &str = "/apis/trilobite.dev/v1alpha1/namespaces/payments/appprofiles/slow";
const FROM_LABEL: &str = "/apis/trilobite.dev/v1alpha1/namespaces/payments/appprofiles/from-label";

fn profile(spec: &str) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: slow, namespace: payments}}\nspec: {{podSelector: {{}}, {spec}}}\n"
    )
}

fn saw(requests: Value) -> Behaviour {
    Behaviour { requests: Some(requests), ..Behaviour::default() }
}

/// Two nodes with a pod of `payments` each, whose agents report `requests`.
async fn with_pods(cluster: &mut TestCluster<'_>, requests: Value) {
    for node in ["reef-1", "reef-2"] {
        cluster.node(node, saw(requests.clone())).await;
    }
    cluster.start_operator();
    cluster.namespace("payments").await;
    for (pod, node) in [("till-0", "reef-1"), ("till-1", "reef-2")] {
        cluster.pod("payments", pod, node, "till").await;
    }
}

async fn sessions(cluster: &TestCluster<'_>, node: &str) -> Result<Vec<Value>, String> {
    let runtime = cluster.get(&format!("/apis/trilobite.dev/v1alpha1/noderuntimes/{node}")).await?;
    Ok(runtime["spec"]["sessions"].as_array().cloned().unwrap_or_default())
}

async fn sessions_become(cluster: &TestCluster<'_>, count: usize) {
    eventually(&format!("reef-1 has {count} sessions"), 20, async || match sessions(cluster, "reef-1").await? {
        found if found.len() == count => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
}

fn message(object: &Value, kind: &str) -> String {
    condition(object, kind).and_then(|found| found["message"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn status_sums_what_nodes_saw_of_requests() {
    with_test_cluster(async |mut cluster| {
        let seen = json!({
            "pods": 1, "connections": 7, "midStream": 2, "rows": [{"protocol": "http", "rows": 1200}], "bytes": 9000,
            "lostRing": 1, "oldestRow": "2026-01-01T00:00:00Z",
            "tlsNotVisible": [{"reason": "jsse", "binary": "java", "processes": 3}],
        });
        with_pods(&mut cluster, seen).await;
        cluster.apply(&format!(
            "{}---\n{}",
            stack("{security: {mode: Disabled}}"),
            profile("requests: {}, durationSeconds: 600")
        ));
        let seen = eventually("both nodes have reported", 20, async || {
            let object = cluster.condition(SLOW, "RowsSeen", "True", "RowsSeen").await;
            if object["status"]["requests"]["nodes"] == 2 { Ok(object) } else { Err(format!("{:#}", object["status"])) }
        })
        .await;
        let sums = &seen["status"]["requests"];
        for (field, sum) in [("totalRows", 2400), ("connections", 14), ("midStream", 4), ("pods", 2), ("lostRing", 2)] {
            assert_eq!(sums[field], sum, "{field}: {sums:#}");
        }
        assert_eq!(sums["rows"], json!([{"protocol": "http", "rows": 2400}]));
        assert_eq!(sums["tlsNotVisible"], json!([{"binary": "java", "processes": 6, "reason": "jsse"}]));
        assert_eq!(message(&seen, "RowsSeen"), "2,400 rows from 2 nodes: http 2,400; 2 lost, 0 gaps");
        assert!(seen["status"]["results"].is_null(), "no stack was sampled");
        let table = cluster.kubectl(&["-n", "payments", "get", "appprofiles"]);
        assert!(table.contains("ROWS") && table.contains(" 2400 "), "{table}");
        println!("{}", cluster.kubectl(&["-n", "payments", "describe", "appprofile", "slow"]));
    });
}

#[test]
fn describe_says_why_there_are_no_rows_and_the_profile_is_ready() {
    with_test_cluster(async |mut cluster| {
        let encrypted = json!({
            "pods": 1, "connections": 2, "encrypted": 2,
            "tlsNotVisible": [{"reason": "jsse", "binary": "java", "processes": 1}],
        });
        with_pods(&mut cluster, encrypted).await;
        cluster.apply(&format!(
            "{}---\n{}",
            stack("{security: {mode: Disabled}}"),
            profile("requests: {}, durationSeconds: 600")
        ));
        cluster.condition(SLOW, "RowsSeen", "False", "Encrypted").await;
        let ready = cluster.condition(SLOW, "Ready", "True", "Ready").await;
        assert!(condition(&ready, "Stalled").is_none() && condition(&ready, "Reconciling").is_none());
        eventually("describe names the processes", 20, async || {
            let text = cluster.kubectl(&["-n", "payments", "describe", "appprofile", "slow"]);
            if text.contains("2 processes of java (jsse)") { Ok(()) } else { Err(text) }
        })
        .await;
    });
}

#[test]
fn payloads_are_refused_until_the_stack_allows_the_namespace() {
    with_test_cluster(async |mut cluster| {
        with_pods(&mut cluster, json!({})).await;
        let asks = profile("requests: {payload: {maxBytes: 512}}, durationSeconds: 600");
        cluster.apply(&format!("{}---\n{asks}", stack("{security: {mode: Disabled}}")));
        let refused = cluster.condition(SLOW, "Accepted", "False", "PayloadsNotAllowed").await;
        assert!(message(&refused, "Accepted").contains("spec.requests.payload.maxBytes"), "{refused:#}");
        assert_eq!(condition(&refused, "RowsSeen").unwrap()["reason"], "PayloadsNotAllowed");
        assert!(condition(&refused, "Stalled").is_none(), "the stack can allow it");
        sessions_become(&cluster, 0).await;
        let allows = |namespace: &str| {
            stack(&format!(
                "{{security: {{mode: Disabled}}, application: {{allowPayloads: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}}}"
            ))
        };
        cluster.apply(&allows("shop"));
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        cluster.condition(SLOW, "Accepted", "False", "PayloadsNotAllowed").await;
        cluster.apply(&allows("payments"));
        cluster.condition(SLOW, "Accepted", "True", "Valid").await;
        sessions_become(&cluster, 1).await;
        let content = sessions(&cluster, "reef-1").await.unwrap()[0]["content"]["appProfile"]["requests"].clone();
        assert_eq!(content["payloadBytes"], 512);
        // Taken back, it ends what runs.
        cluster.apply(&allows("shop"));
        cluster.condition(SLOW, "Accepted", "False", "PayloadsNotAllowed").await;
        sessions_become(&cluster, 0).await;
    });
}

#[test]
fn wrong_requests_are_refused_by_name() {
    with_test_cluster(async |mut cluster| {
        with_pods(&mut cluster, json!({})).await;
        cluster.apply(&stack("{security: {mode: Disabled}}"));
        for (spec, expected) in [
            ("durationSeconds: 60", "must ask for something: set cpu, as 'cpu: {}', or requests, as 'requests: {}'"),
            ("requests: {protocols: [http, htp]}", "supported values: \"http\", \"pgsql\", \"redis\", \"dns\""),
            ("requests: {roles: [Proxy]}", "supported values: \"Client\", \"Server\""),
            ("requests: {ports: [0]}", "spec.requests.ports[0]"),
            ("requests: {payload: {maxBytes: 65537}}", "spec.requests.payload.maxBytes"),
            ("requests: {protcols: [http]}", "unknown field \"spec.requests.protcols\""),
            ("requests: {}, retainAfterEndMinutes: 61", "spec.retainAfterEndMinutes"),
        ] {
            let file = std::env::temp_dir().join(format!("trilobite-requests-{}.yaml", std::process::id()));
            std::fs::write(&file, profile(spec)).unwrap();
            let refused =
                cluster.try_kubectl(&["create", "--validate=strict", "-f", file.to_str().unwrap()]).unwrap_err();
            assert!(refused.contains(expected), "{spec}: {refused}");
            std::fs::remove_file(file).unwrap();
        }
        // A word that is known passes the schema, and the status has the list.
        cluster.apply(&profile("requests: {protocols: [pgsql, mqtt]}, durationSeconds: 600"));
        let refused = cluster.condition(SLOW, "Accepted", "False", "Unsupported").await;
        let expected = "spec.requests.protocols[1]: mqtt is not supported yet; supported are http, pgsql, redis, dns";
        assert!(message(&refused, "Accepted").starts_with(expected), "{}", message(&refused, "Accepted"));
        assert_eq!(message(&refused, "RowsSeen"), message(&refused, "Accepted"));
    });
}

#[test]
fn rows_stay_on_nodes_after_the_end_until_the_profile_is_deleted() {
    with_test_cluster(async |mut cluster| {
        with_pods(&mut cluster, json!({"pods": 1, "rows": [{"protocol": "dns", "rows": 1}]})).await;
        cluster.apply(&format!(
            "{}---\n{}",
            stack("{security: {mode: Disabled}}"),
            profile("requests: {}, durationSeconds: 3")
        ));
        let done = cluster.condition(SLOW, "Completed", "True", "DurationElapsed").await;
        assert!(message(&done, "Completed").contains("2 rows from 2 nodes, 0 lost; read them until "), "{done:#}");
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(sessions(&cluster, "reef-1").await.unwrap().len(), 1, "the rows can still be read");
        cluster.delete(SLOW).await;
        sessions_become(&cluster, 0).await;
        cluster.apply(&profile("requests: {}, durationSeconds: 3, retainAfterEndMinutes: 0"));
        cluster.condition(SLOW, "Completed", "True", "DurationElapsed").await;
        sessions_become(&cluster, 0).await;
    });
}

#[test]
fn a_standing_profile_reaches_every_node_and_leaves_it() {
    with_test_cluster(async |mut cluster| {
        with_pods(&mut cluster, json!({})).await;
        cluster.apply(&stack("{security: {mode: Disabled}, application: {mode: Enabled}}"));
        let refused = cluster.condition(STACK, "Accepted", "False", "InvalidSpec").await;
        assert!(message(&refused, "Accepted").starts_with("spec.application.requests must be set"), "{refused:#}");
        let application =
            "mode: Enabled, namespaceSelector: {matchLabels: {team: shop}}, requests: {protocols: [http]}";
        cluster.apply(&stack(&format!("{{security: {{mode: Disabled}}, application: {{{application}}}}}")));
        cluster.condition(STACK, "Accepted", "True", "Valid").await;
        let standing = async |cluster: &TestCluster<'_>| {
            let runtime = cluster.get("/apis/trilobite.dev/v1alpha1/noderuntimes/reef-1").await?;
            let name = runtime["spec"]["profileRef"]["name"].as_str().unwrap_or_default().to_owned();
            let profile = cluster.get(&format!("/apis/trilobite.dev/v1alpha1/nodeprofiles/{name}")).await?;
            Ok::<_, String>(profile["spec"]["application"]["standing"].clone())
        };
        let content = eventually("the node has it", 20, async || match standing(&cluster).await? {
            Value::Null => Err("not there".into()),
            content => Ok(content),
        })
        .await;
        assert_eq!(content["pods"]["namespaceSelector"], json!({"matchLabels": {"team": "shop"}}));
        assert_eq!(content["requests"]["protocols"], json!(["http"]));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
        cluster.apply(&stack("{security: {mode: Disabled}}"));
        eventually("it is gone", 20, async || match standing(&cluster).await? {
            Value::Null => Ok(()),
            content => Err(format!("{content}")),
        })
        .await;
    });
}

#[test]
fn words_of_a_label_make_a_profile_and_other_words_another() {
    with_test_cluster(async |mut cluster| {
        with_pods(&mut cluster, json!({})).await;
        cluster.apply(&stack("{security: {mode: Disabled}}"));
        let spec_becomes = async |cluster: &TestCluster<'_>, what: &str, expected: Value| {
            eventually(what, 20, async || {
                let spec = cluster.get(FROM_LABEL).await?["spec"].clone();
                let found = json!([spec["cpu"].is_object(), spec["requests"]["protocols"], spec["durationSeconds"]]);
                if found == expected { Ok(()) } else { Err(format!("{spec:#}")) }
            })
            .await;
        };
        cluster.label("payments", Some("15m.pgsql.http")).await;
        spec_becomes(&cluster, "requests for 15 minutes", json!([false, ["http", "pgsql"], 900])).await;
        cluster.condition(FROM_LABEL, "Accepted", "True", "Valid").await;
        cluster.label("payments", Some("cpu.dns.90s")).await;
        spec_becomes(&cluster, "both for 90 seconds", json!([true, ["dns"], 90])).await;
        cluster.label("payments", Some("all")).await;
        spec_becomes(&cluster, "every protocol", json!([false, null, 300])).await;
        for (label, expected) in [
            ("http.htp", "\"htp\" is not known; known are cpu, all, http, pgsql, redis, dns"),
            ("mqtt.15m", "mqtt is not supported yet; supported are cpu, all, http, pgsql, redis, dns"),
        ] {
            cluster.label("payments", Some(label)).await;
            eventually("an Event says why", 20, async || {
                let events = cluster.kubectl(&["-n", "payments", "get", "events.events.k8s.io", "-o", "json"]);
                let events: Value = serde_json::from_str(&events).unwrap();
                let notes: Vec<_> =
                    events["items"].as_array().unwrap().iter().map(|event| event["note"].clone()).collect();
                let found = notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains(expected)));
                if found { Ok(()) } else { Err(format!("{notes:?}")) }
            })
            .await;
        }
        eventually("the profile is deleted", 10, async || match cluster.get(FROM_LABEL).await {
            Err(error) if error.contains("not found") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    });
}
