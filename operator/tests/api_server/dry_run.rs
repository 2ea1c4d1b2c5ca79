//! Policies with the annotation of a dry run, as `trilobite policy check` makes them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    fake_agent::Behaviour,
    test_cluster::{TestCluster, condition, eventually, stack, with_test_cluster},
};

fn policy(name: &str, annotation: &str) -> String {
    format!(
        "---\napiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}, annotations: {{{annotation}}}}}\n\
         spec: {{tracepoints: [{{subsystem: sched, event: ink}}]}}\n"
    )
}

const DRY_RUN: &str = "trilobite.dev/dry-run: 'true'";

fn path(name: &str) -> String {
    format!("/apis/trilobite.dev/v1alpha1/tracingpolicies/{name}")
}

/// The second one refuses the policy `ink`.
async fn start_with_two_nodes(cluster: &mut TestCluster<'_>) {
    let refuses = vec![("ink".to_owned(), "NoSuchTracepoint".to_owned(), "spec.tracepoints[0].event: no".to_owned())];
    cluster.node("reef-1", Behaviour::default()).await;
    cluster.node("reef-2", Behaviour { refuses, ..Behaviour::default() }).await;
    cluster.start_operator();
}

#[test]
fn a_dry_run_is_answered_and_active_without_its_annotation() {
    with_test_cluster(async |mut cluster| {
        start_with_two_nodes(&mut cluster).await;
        cluster.apply(&(stack("{security: {mode: OnDemand}}") + &policy("kelp", DRY_RUN) + &policy("ink", DRY_RUN)));
        let could = cluster.condition(&path("kelp"), "Ready", "False", "DryRun").await;
        let message = condition(&could, "Ready").unwrap()["message"].as_str().unwrap();
        assert!(message.starts_with("dry run, nothing is loaded: 2 of 2 nodes could have it active"), "{message}");
        assert_eq!(could["status"]["readyNodes"], Value::Null);
        let refused = cluster.condition(&path("ink"), "Degraded", "True", "NoSuchTracepoint").await;
        assert_eq!(refused["status"]["failures"][0]["exampleNode"], "reef-2");
        let parts: Value = serde_json::from_str(&cluster.kubectl(&["get", "profileparts", "-o", "json"])).unwrap();
        let contents: Vec<&Value> =
            parts["items"].as_array().unwrap().iter().map(|part| &part["spec"]["content"]).collect();
        assert!(
            contents.iter().all(|content| content["policy"]["dryRun"] == true),
            "the processes are not asked for: {parts:#}"
        );

        // The annotation is no part of the spec: the generation stays.
        cluster.kubectl(&["annotate", "tracingpolicies.trilobite.dev", "kelp", "trilobite.dev/dry-run-"]);
        cluster.condition(&path("kelp"), "Ready", "True", "Ready").await;
        cluster.kubectl(&["annotate", "tracingpolicies.trilobite.dev", "kelp", "trilobite.dev/dry-run=true"]);
        eventually("it is a dry run again", 20, async || {
            let object = cluster.get(&path("kelp")).await?;
            let reason = condition(&object, "Ready").map(|ready| ready["reason"].clone());
            if reason == Some("DryRun".into()) { Ok(()) } else { Err(format!("{:#}", object["status"])) }
        })
        .await;
    });
}

/// The command line of `make build`.
fn trilobite() -> PathBuf {
    let folder = std::env::var_os("TRILOBITE_BIN").map(PathBuf::from);
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/x86_64-unknown-linux-gnu/debug");
    folder.unwrap_or_else(built).join("trilobite")
}

#[test]
fn policy_check_prints_what_nodes_say_and_leaves_nothing() {
    with_test_cluster(async |mut cluster| {
        start_with_two_nodes(&mut cluster).await;
        cluster.apply(&stack("{security: {mode: OnDemand}}"));
        let file = std::env::temp_dir().join(format!("trilobite-policy-check-{}.yaml", std::process::id()));
        std::fs::write(
            &file,
            policy("kelp", "")
                + &policy("ink", "")
                + &policy("typo", "").replace("tracepoints:", "lsmhooks: [], tracepoint:"),
        )
        .unwrap();
        let mut command = Command::new(trilobite());
        command.env("KUBECONFIG", cluster.kubeconfig()).args(["policy", "check"]).arg(&file);
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (text, said) =
            (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr).into_owned());
        assert_eq!(done.status.code(), Some(1), "{text}{said}");
        std::fs::remove_file(file).unwrap();
        let could = "TracingPolicy/kelp: accepted\n  dry run, nothing is loaded: 2 of 2 nodes could have it active; no pod is selected now\n";
        assert!(text.contains(could), "{text}{said}");
        let refused = "TracingPolicy/ink: refused\n  NoSuchTracepoint on 1 node (kernel 6.12.0-reef), e.g. reef-2: \
                       spec.tracepoints[0].event: no\n  1 of 2 nodes could have it active\n";
        assert!(text.contains(refused), "{text}{said}");
        assert!(text.contains("TracingPolicy/typo: refused\n"), "{text}{said}");
        let left = cluster.kubectl(&["get", "tracingpolicies.trilobite.dev", "-o", "name"]);
        assert_eq!(left, "");
    });
}
