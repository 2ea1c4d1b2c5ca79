//! Our service read by a program on the Go API that Tetragon publishes, as other tools are made: filters for which `tetra` has no flag,
//! and `ListTracingPolicies`, whose command of `tetra` cannot be built outside of its repository.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::tetra_client_tests::{Agent, client};

fn command(agent: &Agent, method: &str, request: &Value) -> Option<Command> {
    let mut command = Command::new(client("tetragon-api")?);
    command.args([&agent.address, method, &request.to_string()]).stdin(Stdio::null());
    Some(command)
}

/// The reply of a method that has one.
fn reply(agent: &Agent, method: &str, request: &Value) -> Option<Value> {
    let output = command(agent, method, request)?.output().unwrap();
    assert!(output.status.success(), "{method}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn first_binary(agent: &Agent, request: &Value) -> Option<String> {
    let lines = agent.lines_of(command(agent, "GetEvents", request)?, 1);
    let event: Value = serde_json::from_str(&lines[0]).unwrap();
    Some(event["process_exec"]["process"]["binary"].as_str().unwrap().to_owned())
}

/// The first two samples are the exec of curl in a pod, and that of sshd on the host.
#[test]
fn each_filter_of_the_published_api_takes_what_it_names() {
    let agent = Agent::start();
    let (curl, sshd) = ("/usr/bin/curl", "/usr/sbin/sshd");
    for (filter, allowed) in [
        (json!({"binary_regex": ["curl$"]}), curl),
        (json!({"namespace": ["payments"]}), curl),
        (json!({"health_check": true}), curl),
        (json!({"pid": [4111]}), curl),
        (json!({"pid_set": [4111]}), curl),
        (json!({"pod_regex": ["^cashier"]}), curl),
        (json!({"arguments_regex": ["till/$"]}), curl),
        (json!({"labels": ["app in (cashier, bank), tier != front"]}), curl),
        (json!({"capabilities": {"effective": {"any": ["CAP_SYS_ADMIN"]}}}), sshd),
        (json!({"parent_binary_regex": ["/sh$"]}), curl),
        (json!({"cel_expression": ["process_exec.process.binary == '/usr/bin/curl'"]}), curl),
        (json!({"parent_arguments_regex": ["^-c"]}), curl),
        (json!({"container_id": ["^0123456789"]}), curl),
        (json!({"container_name_regex": ["^till$"]}), curl),
        (json!({"namespace_regex": ["^pay"]}), curl),
        (json!({"namespace": [""]}), sshd),
    ] {
        let exec = json!({"event_set": ["PROCESS_EXEC"]});
        let both = [filter.as_object().unwrap().clone(), exec.as_object().unwrap().clone()].into_iter().flatten();
        let both: Value = Value::Object(both.collect());
        let Some(found) = first_binary(&agent, &json!({"allow_list": [both]})) else { return };
        assert_eq!(found, allowed, "allow {filter}");
        let denied = json!({"allow_list": [exec], "deny_list": [filter]});
        let other = if allowed == curl { sshd } else { curl };
        assert_eq!(first_binary(&agent, &denied).unwrap(), other, "deny {filter}");
    }
}

#[test]
fn published_client_lists_policies_with_their_counters() {
    let agent = Agent::start();
    let Some(list) = reply(&agent, "ListTracingPolicies", &json!({})) else { return };
    let [refused, egress] = list["policies"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&refused["name"], &refused["state"]), (&json!("typo"), &json!("TP_STATE_LOAD_ERROR")));
    assert_eq!(refused["error"], "spec.options[0].name: policy-mdoe is not known");
    for (field, value) in [
        ("name", json!("egress")),
        ("namespace", json!("shop")),
        ("id", json!("9")),
        ("filter_id", json!("9")),
        ("enabled", json!(true)),
        ("mode", json!("TP_MODE_ENFORCE")),
        ("kernel_memory_bytes", json!("4096")),
        ("sensors", json!(["generic_kprobe"])),
    ] {
        assert_eq!(egress[field], value, "{field}");
    }
    let counters = &egress["stats"]["action_counters"];
    assert_eq!((&counters["post"], &counters["signal"]), (&json!("12"), &json!("3")), "{egress}");
}

#[test]
fn published_client_reads_health_version_info_and_debug() {
    let agent = Agent::start();
    let Some(health) = reply(&agent, "GetHealth", &json!({"event_set": ["HEALTH_STATUS_TYPE_STATUS"]})) else { return };
    assert_eq!(health["health_status"][0]["status"], "HEALTH_STATUS_RUNNING", "{health}");
    assert_eq!(reply(&agent, "GetVersion", &json!({})).unwrap()["version"], "v9.9.9");
    let info = reply(&agent, "GetInfo", &json!({})).unwrap();
    assert!(info.as_object().is_some_and(|info| !info.is_empty()), "{info}");
    let level = reply(&agent, "GetDebug", &json!({"flag": "CONFIG_FLAG_LOG_LEVEL"})).unwrap();
    assert!(level["level"].is_string(), "{level}");
}
