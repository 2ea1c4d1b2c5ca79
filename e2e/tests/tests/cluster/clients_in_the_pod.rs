//! `tetra` and `hubble` inside the agent's pod, by the commands of articles about Tetragon and Hubble, and what the export prints.

use trilobite_e2e::{
    Fixture, agents,
    clients::{self, Stream},
    eventually,
    fixture::NAMESPACE,
    pods::{self, Workload},
};

const LOOP: &str = r#"[sh, -c, "while true; do /bin/ls --token=hunter2 / >/dev/null 2>&1; sleep 1; done"]"#;

#[test]
fn image_answers_to_tetra_and_hubble() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}, network: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "in-pod");
    let pod = Workload { namespace: "in-pod", name: "lister", node: "node1", command: LOOP };
    pod.start(&fixture.kubectl);
    let agent = agents::pod_on(&fixture.kubectl, "node1");
    let exec = |words: &[&str]| {
        let words = [&["-n", NAMESPACE, "exec", &agent, "-c", "agent", "--"], words].concat();
        fixture.kubectl.command(&words)
    };
    let printed = |words: &[&str]| String::from_utf8(clients::succeed(&mut exec(words)).stdout).unwrap();

    assert_eq!(printed(&["tetra", "status"]), "Health Status: running\n");
    assert!(printed(&["tetra", "version", "-s"]).contains("Server version: "));
    assert!(printed(&["tetra", "tracingpolicy", "list"]).starts_with("ID   NAME   DOMAIN"));
    let compact = Stream::start(exec(&["tetra", "getevents", "-o", "compact"]));
    compact.until("an exec line", 20, |line| line.contains("🚀 process in-pod/lister") && line.contains("ls "));
    let json = Stream::start(exec(&["tetra", "getevents", "--output", "json", "-e", "PROCESS_EXIT"]));
    json.until("an exit in JSON", 20, |line| line.starts_with(r#"{"process_exit":"#) && line.contains("in-pod"));

    assert!(printed(&["hubble", "status"]).contains("Healthcheck (via unix:///"));
    let ours = printed(&["hubble", "observe", "--last", "5", "-o", "json"]);
    assert!(ours.lines().all(|line| line.starts_with('{')), "{ours}");
    pod.stop(&fixture.kubectl);
}

#[test]
fn export_prints_what_the_stack_selects() {
    let fixture = Fixture::shared();
    fixture.stack(
        "{security: {mode: Enabled}, export: {stdout: {enabled: true, enabledFields: [process_exec], flatPodKeys: true, \
         allowList: [{namespace: [printed]}], redactionFilters: [{redact: ['--token=(\\S+)']}]}}}",
    );
    pods::namespace(&fixture.kubectl, "printed");
    let pod = Workload { namespace: "printed", name: "lister", node: "node1", command: LOOP };
    pod.start(&fixture.kubectl);
    let lines = eventually("printed events", 60, || {
        let agent = agents::pod_on(&fixture.kubectl, "node1");
        let text = fixture.kubectl.run(&["-n", NAMESPACE, "logs", &agent, "-c", "export-stdout"]);
        let lines: Vec<String> = text.lines().filter(|line| line.contains("token")).map(str::to_owned).collect();
        if lines.len() > 2 { Ok(lines) } else { Err(text) }
    });
    for line in lines {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let process = &event["process_exec"]["process"];
        assert_eq!((&process["namespace"], &process["pod_name"]), (&"printed".into(), &"lister".into()), "{line}");
        assert!(!line.contains("hunter2") && line.contains("--token=*****"), "{line}");
    }
    pod.stop(&fixture.kubectl);
}
