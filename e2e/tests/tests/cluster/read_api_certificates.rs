//! Certificates between relay and agents on a real cluster: no key is on any disk, and an agent's port is open only while a relay is
//! wanted. Who is let in is tested in the agent's own tests, over real TLS.

use std::{path::Path, process::Command};

use trilobite_e2e::{
    Fixture, agents, eventually,
    fixture::{NAMESPACE, stack_yaml},
    pods::{self, Workload},
    read_api::{is_open, node_address, read, rows_until, wait_until_served},
    wait::that,
};

/// The agents' port for the relay.
const PORT: u16 = 4244;
const LISTS: &str = r#"[sh, -c, "while true; do /bin/ls / >/dev/null; sleep 0.3; done"]"#;

#[test]
fn ports_of_agents_are_open_only_while_a_relay_is_wanted() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    wait_until_served(&fixture.kubectl);
    let addresses = ["node1", "node2"].map(|node| node_address(&fixture.kubectl, node));
    eventually("both ports are open", 60, || {
        let open = addresses.each_ref().map(|address| is_open(address, PORT));
        that(open == [true; 2], format!("{open:?}"))
    });
    fixture.kubectl.apply(&stack_yaml("{security: {mode: Enabled}, relay: {mode: Disabled}}"));
    eventually("both ports are closed", 60, || {
        let open = addresses.each_ref().map(|address| is_open(address, PORT));
        that(open == [false; 2], format!("{open:?}"))
    });
    fixture.stack("{security: {mode: Enabled}}");
    wait_until_served(&fixture.kubectl);
}

#[test]
fn no_key_is_on_a_nodes_disk() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    wait_until_served(&fixture.kubectl);
    for node in ["node1", "node2"] {
        for folder in ["/var/lib/trilobite", "/run/trilobite"] {
            let folder = Path::new(folder).join(node);
            let found =
                Command::new("grep").args(["-rlE", "PRIVATE KEY|BEGIN CERTIFICATE"]).arg(&folder).output().unwrap();
            assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
        }
        let pid = agents::pid_on(node);
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().collect();
        let files = open.iter().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        let keys: Vec<_> = files.filter(|path| path.to_string_lossy().contains("key")).collect();
        assert!(keys.is_empty(), "{keys:?}");
    }
}

#[test]
fn request_for_another_nodes_certificate_is_denied() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    wait_until_served(&fixture.kubectl);
    let requests = fixture.kubectl.get(&["csr"]).unwrap();
    let ours = requests["items"].as_array().cloned().unwrap_or_default();
    let node =
        ours.iter().find(|one| one["spec"]["signerName"] == "trilobite.dev/node-serving").expect("an agent's request");
    // The same request by an administrator: no pod stands behind it.
    let forged = serde_json::json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "e2e-forged"},
        "spec": {"request": node["spec"]["request"], "signerName": node["spec"]["signerName"], "usages": node["spec"]["usages"]},
    });
    let refusal = fixture.kubectl.try_apply(&forged.to_string()).expect_err("no administrator asks our signers");
    assert!(refusal.contains("must not ask signer trilobite.dev/node-serving"), "{refusal}");
}

/// A new relay has a new certificate, and an agent that is started again too: streams of others go on.
#[test]
fn reads_go_on_after_relay_and_agent_were_replaced() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    wait_until_served(&fixture.kubectl);
    pods::namespace(&fixture.kubectl, "renewed");
    let pod = Workload { namespace: "renewed", name: "busy", node: "node2", command: LISTS };
    pod.start(&fixture.kubectl);
    agents::replace_pod(&fixture.kubectl, "node2");
    let relay = ["-n", NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/name=trilobite-relay", "--wait=true"];
    fixture.kubectl.run(&relay);
    wait_until_served(&fixture.kubectl);
    rows_until(&fixture.kubectl, "namespaces/renewed/events?forSeconds=3", |_| true);
    let list = eventually("both nodes answer", 60, || {
        let list = read(&fixture.kubectl, "namespaces/renewed/events?forSeconds=1")?;
        that(list["coverage"]["nodes"]["answered"] == 2, format!("{:#}", list["coverage"]))?;
        Ok(list)
    });
    assert_eq!(list["coverage"]["nodes"]["asked"], 2);
    pod.stop(&fixture.kubectl);
}
