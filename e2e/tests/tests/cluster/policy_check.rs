//! `trilobite policy check` before policies are applied, and what their status says afterwards, from real agents: the same words, kept
//! in `tests/golden/policies/`.

use std::{fmt::Write as _, fs, path::PathBuf};

use serde_json::Value;
use trilobite_e2e::{
    Fixture,
    clients::trilobite,
    eventually,
    fixture::{DeleteOnDrop, condition},
    golden::{golden, steady_lines},
    kernel,
    parameters::{count, keep},
    wait::that,
};

/// Every message that this machine's kernel can cause, by the name of a policy: those of the files' check, those of the nodes, and
/// notes. The others are golden files of the agent's own tests.
const POLICIES: [(&str, &str); 14] = [
    ("function-missing", "{kprobes: [{call: find_module_sections, syscall: false}]}"),
    (
        "function-missing-and-ignored",
        "{kprobes: [{call: find_module_sections, syscall: false, ignore: {callNotFound: true}}]}",
    ),
    ("tracepoint-missing", "{tracepoints: [{subsystem: sched, event: no_such_event, raw: true}]}"),
    (
        "argument-missing",
        "{tracepoints: [{subsystem: sched, event: sched_process_fork, raw: true, args: [{index: 5, type: int}]}]}",
    ),
    (
        "namespace-by-name",
        "{tracepoints: [{subsystem: sched, event: sched_process_fork, raw: true, \
         selectors: [{matchNamespaces: [{namespace: Mnt, operator: In, values: [payments]}]}]}]}",
    ),
    (
        "mask-of-a-file",
        "{kprobes: [{call: security_file_open, syscall: false, args: [{index: 0, type: file}], \
         selectors: [{matchArgs: [{index: 0, operator: Mask, values: [\"1\"]}]}]}]}",
    ),
    (
        "option-misspelled",
        "{options: [{name: policy-mdoe, value: monitor}], tracepoints: [{subsystem: sched, event: sched_process_fork, raw: true}]}",
    ),
    ("not-yet-lsm", "{lsmhooks: [{hook: file_open}]}"),
    (
        "not-yet-override",
        "{kprobes: [{call: sys_setuid, selectors: [{matchActions: [{action: Override, argError: -1}]}]}]}",
    ),
    (
        "nodes-left-out",
        "{nodeSelector: {matchLabels: {disk: tape}}, tracepoints: [{subsystem: sched, event: sched_process_fork, raw: true}]}",
    ),
    (
        "signal-is-late",
        "{podSelector: {matchLabels: {app: none-such}}, tracepoints: [{subsystem: sched, event: sched_process_fork, raw: true, \
         selectors: [{matchActions: [{action: Sigkill}]}]}]}",
    ),
    (
        "pointer-of-a-system-call",
        "{podSelector: {matchLabels: {app: none-such}}, tracepoints: [{subsystem: syscalls, event: sys_enter_openat, \
         args: [{index: 6, type: string}], selectors: [{matchArgs: [{index: 6, operator: Prefix, values: [/etc/]}]}]}]}",
    ),
    ("no-hook", "{}"),
    ("good", "{tracepoints: [{subsystem: sched, event: sched_process_fork, raw: true}]}"),
];

fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn file(name: &str, documents: &[String]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("trilobite-e2e-{}-{name}.yaml", std::process::id()));
    fs::write(&path, documents.join("---\n")).unwrap();
    path
}

/// What the command prints, and whether it found nothing to refuse.
fn check(fixture: &Fixture, documents: &[String], words: &[&str]) -> (String, bool) {
    let path = file("check", documents);
    let words = [&["policy", "check", path.to_str().unwrap()], words].concat();
    let done = trilobite(&fixture.kubectl, &words).output().unwrap();
    fs::remove_file(path).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(matches!(done.status.code(), Some(0 | 1)), "{said}");
    println!("{said}");
    (String::from_utf8(done.stdout).unwrap(), done.status.success())
}

/// The status once every node has answered.
#[track_caller]
fn settled(fixture: &Fixture, name: &str) -> Value {
    eventually(&format!("every node has answered about {name}"), 90, || {
        let object = fixture.kubectl.get(&["tracingpolicy", name])?;
        let is = |kind, status: &str| condition(&object, kind).is_some_and(|found| found["status"] == status);
        let is_final = is("Accepted", "False")
            || is("Programmed", "True")
            || condition(&object, "Ready").is_some_and(|ready| ready["reason"] == "NoMatchingNodes");
        that(is_final, format!("{:#}", object["status"]))?;
        Ok(object)
    })
}

/// The conditions that say why, one a line, and the failures.
fn reported(object: &Value) -> String {
    let mut text = String::new();
    for kind in ["Accepted", "Ready", "Degraded"] {
        let Some(found) = condition(object, kind) else { continue };
        let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        if kind == "Ready"
            || (kind, word("status").as_str()) == ("Accepted", "False")
            || word("status") == "True" && kind == "Degraded"
        {
            writeln!(text, "  {kind}={} {}: {}", word("status"), word("reason"), word("message")).unwrap();
        }
    }
    for failure in object["status"]["failures"].as_array().into_iter().flatten() {
        writeln!(text, "  failure {} x{}: {}", failure["reason"], failure["count"], failure["message"]).unwrap();
    }
    text
}

#[test]
fn check_says_what_the_status_says_after_applying() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let documents: Vec<String> = POLICIES.iter().map(|(name, spec)| policy(name, spec)).collect();
    let before = kernel::objects().count(kernel::POLICIES);
    let (checked, accepted) = check(fixture, &documents, &[]);
    assert!(!accepted);
    assert_eq!(kernel::objects().count(kernel::POLICIES), before, "a checked policy was loaded");
    assert_eq!(
        fixture.kubectl.run(&[
            "get",
            "tracingpolicies",
            "-l",
            "app.kubernetes.io/managed-by=trilobite-cli",
            "-o",
            "name"
        ]),
        ""
    );
    golden("policies/check.txt", &steady_lines(&checked));

    let all = documents.join("---\n");
    let _made = DeleteOnDrop(fixture, all.clone());
    fixture.kubectl.apply(&all);
    let mut statuses = String::new();
    for (name, _) in POLICIES {
        let object = settled(fixture, name);
        writeln!(statuses, "{name}").unwrap();
        statuses += &reported(&object);
        // Each failure was in the answer of the check, word for word.
        let section =
            checked.split("TracingPolicy/").find(|section| section.starts_with(&format!("{name}: "))).unwrap();
        let messages = object["status"]["failures"].as_array().into_iter().flatten().map(|failure| &failure["message"]);
        let refusal =
            condition(&object, "Accepted").filter(|found| found["status"] == "False").map(|it| &it["message"]);
        for message in messages.chain(refusal) {
            assert!(section.contains(message.as_str().unwrap()), "{name}: {message} is not in\n{section}");
        }
        let is_refused = condition(&object, "Ready").is_none_or(|ready| ready["status"] != "True");
        assert_eq!(section.starts_with(&format!("{name}: refused")), is_refused, "{section}\n{:#}", object["status"]);
    }
    golden("policies/status.txt", &steady_lines(&statuses));
}

#[test]
fn check_without_rights_or_cluster_says_what_it_did_not_check() {
    let fixture = Fixture::shared();
    let good = policy("good", POLICIES[13].1);
    let bad = policy("bad", "{lsmhooks: [{hook: file_open}]}");
    let (text, accepted) = check(fixture, std::slice::from_ref(&good), &["--offline"]);
    assert!(accepted && text.contains("TracingPolicy/good: accepted\n  not checked: "), "{text}");
    let (text, accepted) = check(fixture, &[good, bad], &["--kubeconfig", "/nowhere"]);
    assert!(!accepted && text.contains("TracingPolicy/bad: refused") && text.contains("not checked: "), "{text}");
}

/// 1,000 with `TRILOBITE_POLICIES=1000`.
#[test]
fn one_bad_policy_beside_many_good_ones_is_refused_alone() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let all = count("TRILOBITE_POLICIES", 100);
    let mut documents: Vec<String> = (1..all)
        .map(|number| {
            let spec = format!(
                "{{tracepoints: [{{subsystem: sched, event: sched_process_exec, raw: true, args: [{{index: 1, type: int32}}], \
                 selectors: [{{matchArgs: [{{index: 1, operator: Equal, values: [\"{number}\"]}}]}}]}}]}}"
            );
            policy(&format!("many-{number}"), &spec)
        })
        .collect();
    documents.insert(all / 2, policy("many-bad", POLICIES[2].1));
    let begin = std::time::Instant::now();
    let (checked, accepted) = check(fixture, &documents, &["--timeout", "120s"]);
    keep(&format!("policy check of {all} policies on two nodes: {:.1} s", begin.elapsed().as_secs_f64()));
    assert!(!accepted);
    assert_eq!(checked.matches(": refused\n").count(), 1, "{checked}");
    assert_eq!(checked.matches(": accepted\n").count(), all - 1);
    assert!(checked.contains("TracingPolicy/many-bad: refused\n  NoSuchTracepoint on 2 nodes"), "{checked}");

    let before = kernel::objects().count(kernel::POLICIES);
    let text = documents.join("---\n");
    let _made = DeleteOnDrop(fixture, text.clone());
    let begin = std::time::Instant::now();
    fixture.kubectl.apply(&text);
    eventually("all but one are active on both nodes", 300, || {
        let list = fixture.kubectl.get(&["tracingpolicies"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let ready = |object: &&Value| condition(object, "Ready").is_some_and(|ready| ready["status"] == "True");
        let active = items.iter().filter(ready).count();
        that(active == all - 1, format!("{active} of {} are active", items.len()))
    });
    keep(&format!("{} policies applied and active on two nodes: {:.1} s", all - 1, begin.elapsed().as_secs_f64()));
    let bad = settled(fixture, "many-bad");
    assert_eq!(condition(&bad, "Degraded").unwrap()["reason"], "NoSuchTracepoint", "{:#}", bad["status"]);
    assert_eq!(kernel::objects().count(kernel::POLICIES) - before, 2, "one program on each of two nodes");
}
