//! Standard output and standard error whose reader has gone away, or whose disk is full.

use std::{fs::OpenOptions, io::pipe, process::Stdio};

use crate::{
    api_server::TestCluster,
    run::{trilobite, wait},
};

/// A pipe that has no reader, as standard error of `2>&1 | head` once head has ended.
fn closed() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// Commands that write to standard error, with their exit codes.
fn talkative() -> (TestCluster, Vec<(Vec<&'static str>, i32)>) {
    let cluster = TestCluster::new(&["alder"]);
    let commands = vec![
        (vec!["frobnicate"], 2),
        (vec!["observe", "-f", "-o", "table"], 2),
        (vec!["status", "--kubeconfig", "/missing"], 1),
        (vec!["events", "--for", "50ms"], 0),
        (vec!["observe"], 0),
        (vec!["profiles"], 0),
        (vec!["profile", "shop/till-1"], 1),
        (vec!["status", "--exit-code"], 3),
    ];
    (cluster, commands)
}

#[test]
fn closed_or_full_standard_error_changes_no_exit_code() {
    let (cluster, commands) = talkative();
    for (words, code) in commands {
        for (name, stderr) in [("closed", closed()), ("full", full())] {
            let mut child = cluster.command(&words).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
            assert_eq!(wait(&mut child), Some(code), "{words:?} with standard error {name}");
        }
    }
}

#[test]
fn reader_of_the_output_that_has_seen_enough_is_no_failure() {
    let cluster = TestCluster::new(&["alder"]);
    for words in [vec!["status"], vec!["completion", "bash"], vec!["version"], vec!["--help"]] {
        let mut child = cluster.command(&words).stdout(closed()).stderr(closed()).spawn().unwrap();
        assert_eq!(wait(&mut child), Some(0), "{words:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let child = trilobite(&["completion", "zsh"]).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("trilobite: cannot write to standard output: No space left"), "{said}");
}
