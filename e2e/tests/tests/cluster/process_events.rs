//! Process events as people read them: from the container that prints them, over restarts of the agent, and by filters.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents,
    clients::{self, Stream},
    eventually,
    fixture::NAMESPACE,
    pods::{self, Workload},
    wait::that,
};

const AGAIN: &str = r#"[sh, -c, "while true; do /bin/ls /again >/dev/null 2>&1; sleep 0.5; done"]"#;

/// Resident memory of the export's process, in KiB.
const RSS_MAX: u64 = 1024;

#[test]
fn export_container_prints_lines_that_tetra_reads_to_the_end() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}, export: {stdout: {enabled: true}}}");
    pods::namespace(&fixture.kubectl, "printed");
    let pod = Workload { namespace: "printed", name: "lister", node: "node1", command: AGAIN };
    pod.start(&fixture.kubectl);
    let agent = agents::pod_on(&fixture.kubectl, "node1");
    let logs = |container: &str| fixture.kubectl.run(&["-n", NAMESPACE, "logs", &agent, "-c", container]);
    let events = eventually("the container prints the pod's events", 60, || {
        let text = logs("export-stdout");
        that(text.matches("\"/again\"").count() > 20, text.chars().take(500).collect::<String>())?;
        Ok(text)
    });
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(event["node_name"], "node1", "{line}");
    }
    assert!(!logs("agent").contains("process_exec"), "events are mixed with the agent's log");

    let mut tetra = clients::tetra("node1", &["getevents", "-o", "compact", "--color", "never"]);
    let mut child = tetra.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, count) = (child.stdin.take().unwrap(), events.lines().count());
    let feeder = std::thread::spawn(move || stdin.write_all(events.as_bytes()));
    let printed = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&printed.stdout).lines().count(), count, "tetra ended early");

    let resident: Vec<u64> = agents::exports().into_iter().map(|pid| agents::memory_kib(pid).1).collect();
    println!("export-stdout: {resident:?} KiB of resident memory");
    assert!(resident.len() == 2 && resident.iter().all(|kib| *kib <= RSS_MAX), "{resident:?} KiB");

    fixture.stack("{security: {mode: Enabled}}");
    eventually("the container is gone with the wish for it", 120, || {
        let names = "-o=jsonpath={.items[*].spec.containers[*].name}";
        let names = fixture.kubectl.ask(&[
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=trilobite-node",
            names,
        ])?;
        that(!names.contains("export-stdout"), names)
    });
    pod.stop(&fixture.kubectl);
}

#[test]
fn process_keeps_its_identity_over_restarts_of_the_agent() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "lasting");
    let pod = Workload { namespace: "lasting", name: "looper", node: "node2", command: AGAIN };
    pod.start(&fixture.kubectl);
    let shell = || {
        let stream = Stream::start(clients::tetra("node2", &["getevents", "-o", "json", "--namespace", "lasting"]));
        let line = stream.until("the next ls", 60, |line| line.contains("process_exec") && line.contains("/again"));
        let event: Value = serde_json::from_str(&line).unwrap();
        let parent = &event["process_exec"]["parent"];
        // Not start_time: each agent reads the offset of the boot clock to the wall clock anew, which differs by microseconds.
        ["exec_id", "binary", "arguments", "cwd", "flags"].map(|field| parent[field].to_string())
    };
    let before = shell();
    // Busybox is called by the name of a link, which /proc does not show.
    assert_eq!(before[1], "\"/bin/sh\"");
    agents::replace_pod(&fixture.kubectl, "node2");
    fixture.ready("2/2");
    assert_eq!(shell(), before, "after SIGTERM");
    // What an agent that is killed has seen was written within 40 s.
    std::thread::sleep(Duration::from_secs(45));
    let killed = agents::pid_on("node2");
    agents::kill("node2");
    eventually("the next agent answers", 60, || {
        let answers = clients::tetra("node2", &["status"]).output().is_ok_and(|output| output.status.success());
        that(answers && agents::pid_on("node2") != killed, String::new())
    });
    assert_eq!(shell(), before, "after SIGKILL");
    pod.stop(&fixture.kubectl);
}

#[test]
fn arguments_of_60_kb_reach_tetra_and_the_command_line() {
    const LONG: &str =
        r#"[sh, -c, "A=$(head -c 60000 /dev/zero | tr '\\0' x); while true; do /bin/true $A end; sleep 1; done"]"#;
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "wordy");
    let pod = Workload { namespace: "wordy", name: "speaker", node: "node1", command: LONG };
    pod.start(&fixture.kubectl);
    let expected = format!("{} end", "x".repeat(60_000));
    let tetra = clients::tetra("node1", &["getevents", "-o", "json", "--namespace", "wordy", "-e", "PROCESS_EXEC"]);
    let trilobite = clients::trilobite(&fixture.kubectl, &["events", "-f", "-o", "json", "-n", "wordy"]);
    for client in [tetra, trilobite] {
        let client_name = client.get_program().display().to_string();
        let stream = Stream::start(client);
        let line = stream.until("an exec with long arguments", 60, |line| line.contains("x end\""));
        let event: Value = serde_json::from_str(&line).unwrap();
        let process = &event["process_exec"]["process"];
        assert!(process["arguments"] == expected, "{client_name}: {} bytes", line.len());
        assert!(!process["flags"].to_string().contains("truncArgs"), "{client_name}: {}", process["flags"]);
    }
    pod.stop(&fixture.kubectl);
}

#[test]
fn event_type_that_cannot_come_is_refused_by_name() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    for (kind, refused) in
        [("PROCESS_UPROBE", true), ("PROCESS_LSM", true), ("PROCESS_KPROBE", false), ("PROCESS_EXEC", false)]
    {
        let tetra = clients::tetra("node1", &["getevents", "-e", kind]);
        // Where it is not refused its stream has no end. From a pipe it would read events.
        let mut limited = Command::new("timeout");
        limited.arg("5").arg(tetra.get_program()).args(tetra.get_args()).stdin(Stdio::null());
        let text = String::from_utf8_lossy(&limited.output().unwrap().stderr).into_owned();
        assert_eq!(text.contains(&format!("{kind} cannot come from this agent")), refused, "{text}");
    }
}
