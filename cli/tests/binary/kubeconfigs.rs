//! Which cluster a command talks to, and what it says if it cannot.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use tempfile::TempDir;

use crate::{
    api_server::TestCluster,
    run::{Outcome, finish, trilobite, write_kubeconfig},
};

fn status_with(kubeconfig: &str) -> Outcome {
    finish(trilobite(&["status"]).env("KUBECONFIG", kubeconfig))
}

/// A server that nothing listens on: the port was free a moment ago.
fn unused_server() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn missing_files_of_kubeconfig_are_skipped() {
    let cluster = TestCluster::new(&["alder"]);
    let good = cluster.folder.path().join("config");
    let outcome = status_with(&format!("/missing:{}:/missing/too", good.display()));
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.out.contains("NoStack"), "{}", outcome.out);
}

#[test]
fn first_file_chooses_the_context_and_the_second_adds_to_it() {
    let cluster = TestCluster::new(&["alder"]);
    let good = cluster.folder.path().join("config");
    let other = cluster.folder.path().join("other");
    write_kubeconfig(&other, "elsewhere", &unused_server(), "{token: t}");
    let both = |first: &PathBuf, second: &PathBuf| format!("{}:{}", first.display(), second.display());
    assert_eq!(status_with(&both(&good, &other)).code, Some(0));
    assert_eq!(status_with(&both(&other, &good)).code, Some(1));
    let chosen = finish(trilobite(&["status", "--context", "reef"]).env("KUBECONFIG", both(&other, &good)));
    assert_eq!(chosen.code, Some(0), "{}", chosen.err);
}

#[test]
fn without_any_file_all_names_are_said() {
    let outcome = status_with("/missing:/missing/too");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("none of the kubeconfigs /missing, /missing/too exists"), "{}", outcome.err);
    let named = finish(&mut trilobite(&["status", "--kubeconfig", "/missing"]));
    assert!(named.err.contains("kubeconfig /missing cannot be used: No such file"), "{}", named.err);
}

#[test]
fn context_that_is_not_there_is_named() {
    let cluster = TestCluster::new(&[]);
    let outcome = cluster.execute(&["status", "--context", "lagoon"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("has no context lagoon"), "{}", outcome.err);
}

#[test]
fn refused_connection_names_the_server_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let server = unused_server();
    let config = folder.path().join("config");
    write_kubeconfig(&config, "reef", &server, "{token: t}");
    for words in [vec!["status"], vec!["events"], vec!["observe"], vec!["profiles"], vec!["profile", "shop/till-1"]] {
        let outcome = finish(trilobite(&words).env("KUBECONFIG", &config));
        assert_eq!(outcome.code, Some(1), "{words:?}");
        let said = format!("the API server {server} cannot be reached: connection refused");
        assert!(outcome.err.contains(&said), "{words:?}: {}", outcome.err);
        assert!(outcome.err.contains("kubectl config get-contexts"), "{words:?}: {}", outcome.err);
    }
}

#[test]
fn rejected_credentials_are_said_in_plain_words() {
    let cluster = TestCluster::new(&[]);
    cluster.reject_credentials();
    let outcome = cluster.execute(&["status"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.err.contains("does not accept the credentials") && outcome.err.contains("log in"),
        "{}",
        outcome.err
    );
}

/// A kubeconfig whose user has this plugin.
fn with_plugin(script: &str, command: Option<&str>) -> (TempDir, Outcome) {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("login-helper");
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, Permissions::from_mode(0o755)).unwrap();
    let command = command.map_or_else(|| plugin.display().to_string(), str::to_owned);
    let user = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: \"{command}\", interactiveMode: Never, \
         installHint: \"get it from the harbour master\", env: [{{name: PASSWORD, value: hunter2}}]}}}}"
    );
    let config = folder.path().join("config");
    write_kubeconfig(&config, "reef", "https://reef.example:6443", &user);
    let outcome = finish(trilobite(&["status"]).env("KUBECONFIG", &config));
    (folder, outcome)
}

#[test]
fn failing_credential_plugin_is_said_without_its_secrets() {
    let (_folder, outcome) =
        with_plugin("#!/bin/sh\necho half-a-token\necho 'the session has expired' >&2\nexit 3\n", None);
    assert_eq!(outcome.code, Some(1));
    for part in
        ["login-helper failed with exit code 3", "the session has expired", "https://reef.example:6443", "log in"]
    {
        assert!(outcome.err.contains(part), "{part}: {}", outcome.err);
    }
    for secret in ["hunter2", "half-a-token"] {
        assert!(!outcome.err.contains(secret), "{}", outcome.err);
    }
    assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
}

#[test]
fn missing_credential_plugin_says_how_to_install_it() {
    let (_folder, outcome) = with_plugin("", Some("no-such-login-helper"));
    assert_eq!(outcome.code, Some(1));
    for part in
        ["no-such-login-helper cannot be started", "get it from the harbour master", "https://reef.example:6443"]
    {
        assert!(outcome.err.contains(part), "{part}: {}", outcome.err);
    }
}

#[test]
fn plugin_that_prints_no_credential_is_named() {
    let (_folder, outcome) = with_plugin("#!/bin/sh\necho '[not a credential'\n", None);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("login-helper printed no ExecCredential"), "{}", outcome.err);
}
