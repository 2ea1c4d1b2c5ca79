//! The commands of an article about Tetragon, as it prints them, with our names in the place of Tetragon's.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use trilobite_cluster::{Cache, command::without_proxies, workspace_root};
use trilobite_e2e::{
    Fixture,
    cilium_kinds::CiliumKinds,
    clients::{self, Stream},
    eventually,
    fixture::{DeleteOnDrop, condition},
    pods::{self, Workload},
    wait::that,
};

/// What the article names -> what a reader of the article writes instead.
const NAMES: [(&str, &str); 2] = [("kube-system", "trilobite-system"), ("/tetragon", "/trilobite-node")];

const ROLLOUT: &str = "kubectl -n kube-system rollout status daemonset/tetragon";
const STATUS: &str = "kubectl -n kube-system exec ds/tetragon -- tetra status";
const EVENTS: &str = "kubectl exec -n kube-system ds/tetragon -- tetra getevents -o compact";
/// In place of `-o compact`, "for production".
const JSON: &str = "kubectl exec -n kube-system ds/tetragon -- tetra getevents --output json";

/// The command in a shell that has `kubectl` in its path.
fn shell(fixture: &Fixture, folder: &Path, line: &str) -> Command {
    let line = NAMES.iter().fold(line.to_owned(), |line, (theirs, ours)| line.replace(theirs, ours));
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    without_proxies(&mut command).env("PATH", path).env("KUBECONFIG", fixture.kubectl.kubeconfig());
    // A stream is ended by its process alone.
    command.args(["-c", &format!("exec {line}")]);
    command
}

#[test]
fn commands_of_the_article_work_as_printed() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let folder = std::env::temp_dir().join(format!("trilobite-e2e-article-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    symlink(Cache::from_environment().program("kubectl").unwrap(), folder.join("kubectl")).unwrap();
    pods::namespace(&fixture.kubectl, "article");
    // `exec ds/...` takes one of the agents, so that something has to happen on every node.
    let run = r#"[sh, -c, "while true; do /bin/ls /etc/secrets >/dev/null 2>&1; sleep 1; done"]"#;
    let pods = ["node1", "node2"].map(|node| Workload { namespace: "article", name: node, node, command: run });
    pods.iter().for_each(|pod| pod.start(&fixture.kubectl));

    let printed = |line: &str| String::from_utf8(clients::succeed(&mut shell(fixture, &folder, line)).stdout).unwrap();
    assert!(printed(ROLLOUT).contains("successfully rolled out"));
    assert_eq!(printed(STATUS), "Health Status: running\n");
    let compact = Stream::start(shell(fixture, &folder, EVENTS));
    compact
        .until("an exec", 20, |line| line.starts_with("🚀 process article/node") && line.contains("ls /etc/secrets"));
    drop(compact);
    let json = Stream::start(shell(fixture, &folder, JSON));
    json.until("an exec in JSON", 20, |line| line.starts_with(r#"{"process_exec":"#) && line.contains("article"));
    pods.iter().for_each(|pod| pod.stop(&fixture.kubectl));
    fs::remove_dir_all(&folder).unwrap();
}

/// Both policies unchanged. Whether a kernel can have them differs; what is said of it does not.
#[test]
fn policies_of_the_article_are_accepted_and_answered_by_every_node() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let _kinds = CiliumKinds::install(fixture);
    let smoke = workspace_root().join("e2e/kernels/smoke");
    let policies = ["kprobe-outbound.yaml", "kprobe-downloads.yaml"];
    let policies = policies.map(|name| fs::read_to_string(smoke.join(name)).unwrap()).join("---\n");
    let _made = DeleteOnDrop(fixture, policies.clone());
    fixture.kubectl.apply(&policies);
    for name in ["detect-unexpected-outbound", "detect-download-tools"] {
        let object = eventually(&format!("every node has answered about {name}"), 90, || {
            let object = fixture.kubectl.get(&["tracingpolicies.cilium.io", name])?;
            let answered = condition(&object, "Programmed").is_some_and(|it| it["status"] == "True");
            that(answered, format!("{:#}", object["status"]))?;
            Ok(object)
        });
        assert_eq!(condition(&object, "Accepted").unwrap()["status"], "True", "{:#}", object["status"]);
        let failing = object["status"]["failures"].as_array().into_iter().flatten();
        for failure in failing {
            let message = failure["message"].as_str().unwrap();
            // What the plan refuses names the field; what the kernel refuses, as some do every kprobe, names the function.
            let names = ["spec.kprobes[0].call", "kprobe/tcp_connect:", "kprobe/security_bprm_check:"];
            assert!(
                names.iter().any(|name| message.contains(name)),
                "a refusal names its field or function: {message}"
            );
        }
    }
}
