//! `completion`, `version`, and `--color` of every command that paints.

use std::{io::Write, process::Command, process::Stdio};

use serde_json::Value;

use crate::{
    api_server::TestCluster,
    fake_agent::{exec_in, flow_at},
    run::{finish, trilobite},
};

#[test]
fn completion_scripts_need_no_cluster_and_are_valid() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = finish(&mut trilobite(&["completion", shell]));
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        assert!(outcome.out.contains("observe") && outcome.out.contains("trilobite-namespace"), "{shell}");
        // Only bash is on every machine.
        if shell == "bash" {
            let mut parser = Command::new("bash").args(["-n"]).stdin(Stdio::piped()).spawn().unwrap();
            parser.stdin.take().unwrap().write_all(outcome.out.as_bytes()).unwrap();
            assert!(parser.wait().unwrap().success());
        }
    }
    assert_eq!(finish(&mut trilobite(&["completion", "ash"])).code, Some(2));
}

#[test]
fn version_names_client_operator_and_agents() {
    let cluster = TestCluster::new(&["alder", "birch"]);
    let own = env!("CARGO_PKG_VERSION");
    let text = cluster.execute(&["version"]).out;
    assert_eq!(
        text,
        format!("client:   {own}\noperator: 1.2.3 (reg.example/operator:7)\nagents:   1.2.3 on 2 nodes\n")
    );
    let json: Value = serde_json::from_str(&cluster.execute(&["version", "-o", "json"]).out).unwrap();
    assert_eq!((json["client"].as_str(), json["agents"]["1.2.3"].as_u64()), (Some(own), Some(2)));
}

#[test]
fn version_says_what_cannot_be_read() {
    let alone = finish(&mut trilobite(&["version"]));
    assert_eq!(alone.code, Some(0));
    assert!(alone.out.starts_with("client:   ") && alone.out.contains("unknown:  cannot connect"), "{}", alone.out);
    assert_eq!(finish(&mut trilobite(&["version", "--client"])).out.lines().count(), 1);
    let cluster = TestCluster::new(&["alder"]);
    cluster.deny("list deployments");
    let text = cluster.execute(&["version"]).out;
    assert!(text.contains("unknown:  read the operator's version: ") && text.contains("agents:   1.2.3"), "{text}");
}

#[test]
fn colors_are_those_that_were_asked_for() {
    let cluster = TestCluster::new(&["alder"]);
    cluster.ready_stack(1, &jiff::Timestamp::now().to_string());
    {
        let mut answers = cluster.agents["alder"].lock();
        (answers.flows, answers.events) = (vec![flow_at(10)], vec![exec_in("shop", "till-1")]);
    }
    let profile =
        serde_json::json!({"metadata": {"name": "slow", "namespace": "shop"}, "spec": {"podSelector": {}, "cpu": {}}});
    cluster.add("appprofiles", profile);
    for words in [vec!["status"], vec!["observe"], vec!["events", "--count", "1"], vec!["profiles"]] {
        let painted = |mode: &str| {
            let outcome = cluster.execute(&[words.as_slice(), &["--color", mode]].concat());
            assert_eq!(outcome.code, Some(0), "{words:?}: {}", outcome.err);
            outcome.out.contains("\x1b[")
        };
        assert!(painted("always"), "{words:?}");
        assert!(!painted("never") && !painted("auto"), "{words:?}: no terminal reads it");
    }
}
