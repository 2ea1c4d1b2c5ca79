//! What policies cost: a call that none of them selects, a call of one hook that all of them have, memory, and a change of one.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;
use trilobite_crds::policy::TracingPolicy;

use crate::{
    agent::Agent,
    bench::{Bench, command},
    empty_program::EmptyProgram,
    node::Node,
    pinned::Pinned,
    samples::{Pairs, Samples, paired},
    table::{Goal, Line},
    traffic::{Call, Traffic},
};

/// Policies that are many: a hook has 1,024 bits then, and 64 with one policy.
const MANY: u32 = 1000;
/// A call that no policy selects, over one with an empty program: at 64 and at 1,024 bits.
const UNSELECTED: [Goal; 2] = [Goal(1.3), Goal(1.6)];
/// A call with many policies over one with one.
const MANY_OVER_ONE: Goal = Goal(1.5);
const FIRST_KIB: Goal = Goal(300.0);
const EACH_KIB: Goal = Goal(10.0);
const NO_MORE_KIB: Goal = Goal(0.0);
const AGENT_MIB: Goal = Goal(4.0);
const CHANGE_MS: Goal = Goal(50.0);
/// After this time nothing is still on its way.
const SETTLE: Duration = Duration::from_secs(4);
const KIB: f64 = 1024.0;
/// What the agent logs when policies have changed.
const CHANGED: &str = "policies changed";

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let how = command("security");
    let mut lines = bench.on_node("a call that no policy selects", &how, |node| unselected(bench, node, &how));
    for call in [Call::Number, Call::Rename] {
        let title = format!("a call with many policies, {}", title(call));
        lines.extend(bench.on_node(&title, &how, |node| many_over_one(bench, node, call, &how)));
    }
    lines.extend(bench.on_node("memory of policies", &how, |node| memory(bench, node, &how)));
    lines.extend(bench.on_node("a changed policy", &how, |node| changes(bench, node, &how)));
    lines
}

fn title(call: Call) -> &'static str {
    match call {
        Call::Number => "numbers",
        Call::Rename => "strings",
    }
}

/// The raw tracepoint that a call hits.
fn tracepoint(call: Call) -> (&'static str, &'static str) {
    match call {
        Call::Number => ("raw_syscalls", "sys_enter"),
        Call::Rename => ("task", "task_rename"),
    }
}

/// Policies about the pod `app`, on one hook, each with other values; `version` is that of the first one. No call of the bench matches
/// any of them.
fn policies(count: u32, call: Call, app: &str, version: u32) -> Result<Vec<TracingPolicy>> {
    let version = |number: u32| if number == 0 { version } else { 0 };
    (0..count).map(|number| policy(number, call, app, version(number))).collect()
}

fn policy(number: u32, call: Call, app: &str, version: u32) -> Result<TracingPolicy> {
    let (subsystem, event) = tracepoint(call);
    let (r#type, filters) = match call {
        Call::Number => {
            let first = 100_000 + number * 10;
            let values = [format!("{0}:{0}", 2000 + number), format!("{first}:{}", first + version)];
            ("int64", json!([{ "index": 1, "operator": "InRange", "values": values }]))
        }
        Call::Rename => {
            let other = json!({ "index": 1, "operator": "NotEqual", "values": [format!("kelp-{number}-{version}")] });
            let prefix = json!({ "index": 1, "operator": "Prefix", "values": [format!("tide-{number}")] });
            ("string", json!([other, prefix]))
        }
    };
    let hook = json!({
        "subsystem": subsystem, "event": event, "raw": true,
        "args": [{ "index": 1, "type": r#type }], "selectors": [{ "matchArgs": filters }],
    });
    let object = json!({
        "apiVersion": "trilobite.dev/v1alpha1", "kind": "TracingPolicy",
        "metadata": { "name": format!("{event}-{number}").replace('_', "-"), "generation": 1 + version },
        "spec": { "podSelector": { "matchLabels": { "app": app } }, "tracepoints": [hook] },
    });
    serde_json::from_value(object).context("a policy of the bench")
}

/// Nanoseconds of a call in the client's pod.
fn call_ns(node: &Node, call: Call) -> Result<f64> {
    let done = node.pods.client.generate(&Traffic::Calls { call, pinned: Pinned { to_last_cpu: true } })?;
    done["nanoseconds"].as_f64().context("no time of a call")
}

fn apply(node: &Node, agent: &Agent, policies: &[TracingPolicy]) -> Result<()> {
    let applied = node.apply_with(&Bench::stack("security"), policies)?;
    node.wait_until_active(applied, agent)?;
    // The status is written after the hooks are active, and what they replace is freed then.
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// An agent without policies.
fn started(bench: &Bench, node: &Node) -> Result<Agent> {
    let applied = node.apply(&Bench::stack("security"))?;
    let agent = node.agent(&bench.agent, None)?;
    node.wait_until_active(applied, &agent)?;
    Ok(agent)
}

fn unselected(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let call = Call::Number;
    let agent = started(bench, node)?;
    let (mut lines, mut none, mut empty) = (Vec::new(), Samples::default(), Samples::default());
    for (count, bits, goal) in [(1, 64, UNSELECTED[0]), (MANY, 1024, UNSELECTED[1])] {
        let others = policies(count, call, "server", 0)?;
        let mut pairs = Pairs::default();
        for turn in 0..bench.runs {
            let (without, with) = paired(
                turn,
                || {
                    apply(node, &agent, &[])?;
                    none.add(call_ns(node, call)?);
                    let _program = EmptyProgram::attach(tracepoint(call).1)?;
                    let ns = call_ns(node, call)?;
                    empty.add(ns);
                    Ok(ns)
                },
                || {
                    apply(node, &agent, &others)?;
                    call_ns(node, call)
                },
            )?;
            pairs.add(without, with);
        }
        let what = format!("call of a pod that no policy selects, {bits} bits: time with / with an empty program");
        lines.push(Line::ratio(&what, &pairs, 3, Some(goal), how));
    }
    lines.push(Line::median("the same call with an empty program", &empty, 0, "ns", how));
    lines.push(Line::median("the same call without any program", &none, 0, "ns", how));
    agent.stop()?;
    Ok(lines)
}

fn many_over_one(bench: &Bench, node: &Node, call: Call, how: &str) -> Result<Vec<Line>> {
    let agent = started(bench, node)?;
    let (one, many) = (policies(1, call, "client", 0)?, policies(MANY, call, "client", 0)?);
    let (mut pairs, mut ns) = (Pairs::default(), Samples::default());
    let with = |policies: &[TracingPolicy]| {
        apply(node, &agent, policies)?;
        call_ns(node, call)
    };
    for turn in 0..bench.runs {
        let (without, with) = paired(turn, || with(&one), || with(&many))?;
        pairs.add(without, with);
        ns.add(with);
    }
    agent.stop()?;
    let title = title(call);
    Ok(vec![
        Line::ratio(
            &format!("call that matches none of {MANY} policies / of one, {title}"),
            &pairs,
            3,
            Some(MANY_OVER_ONE),
            how,
        ),
        Line::median(&format!("call that matches none of {MANY} policies, {title}"), &ns, 0, "ns", how),
    ])
}

/// What an agent and its cgroup have when so many policies are active.
#[derive(Clone, Copy, Debug)]
struct Usage {
    rss_kib: f64,
    anonymous_kib: f64,
    kernel_kib: Option<f64>,
    per_cpu_kib: Option<f64>,
}

/// `other` policies are on another hook.
fn usage(bench: &Bench, node: &Node, other: u32, count: u32) -> Result<Usage> {
    let mut all = policies(other, Call::Number, "client", 0)?;
    all.extend(policies(count, Call::Rename, "client", 0)?);
    let applied = node.apply_with(&Bench::stack("security"), &all)?;
    let agent = node.agent(&bench.agent, None)?;
    node.wait_until_active(applied, &agent)?;
    thread::sleep(SETTLE);
    let kib = |bytes: u64| bytes as f64 / KIB;
    let memory = agent.memory()?;
    let usage = Usage {
        rss_kib: memory.rss_kib as f64,
        anonymous_kib: memory.anonymous_kib as f64,
        kernel_kib: agent.cgroup().kernel_memory().map(kib),
        per_cpu_kib: agent.cgroup().per_cpu_memory().map(kib),
    };
    agent.stop()?;
    Ok(usage)
}

fn memory(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let (mut shared, mut first, mut each) = (Samples::default(), Samples::default(), Samples::default());
    let (mut per_cpu, mut rss, mut anonymous) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..bench.runs.min(3) {
        let (none, other) = (usage(bench, node, 0, 0)?, usage(bench, node, 1, 0)?);
        let (one, many) = (usage(bench, node, 1, 1)?, usage(bench, node, 1, MANY)?);
        rss.add((many.rss_kib - other.rss_kib) / KIB);
        anonymous.add((many.anonymous_kib - other.anonymous_kib) / KIB);
        if let (Some(none), Some(other), Some(one), Some(many)) =
            (none.kernel_kib, other.kernel_kib, one.kernel_kib, many.kernel_kib)
        {
            shared.add(other - none);
            first.add(one - other);
            each.add((many - one) / f64::from(MANY - 1));
        }
        if let (Some(one), Some(many)) = (one.per_cpu_kib, many.per_cpu_kib) {
            per_cpu.add(many - one);
        }
    }
    let all = [
        (format!("RSS of the agent with {MANY} policies, over one"), &rss, 1, "MiB", AGENT_MIB),
        ("kernel memory of the first policy of a further hook".to_owned(), &first, 0, "KiB", FIRST_KIB),
        (format!("kernel memory of each further policy, at {MANY}"), &each, 1, "KiB", EACH_KIB),
        (format!("per-CPU memory of {MANY} policies, over one"), &per_cpu, 0, "KiB", NO_MORE_KIB),
    ];
    let line = |(what, samples, decimals, unit, goal): (String, &Samples, usize, &str, Goal)| match samples.runs() {
        0 => Line::absent(&what, "this cgroup does not count it", how),
        _ => Line::median(&what, samples, decimals, unit, how).at_most(goal, samples),
    };
    let title = "kernel memory of the first policy of a node, with the rings of all hooks";
    let shared = Line::median(title, &shared, 0, "KiB", how);
    let anonymous =
        Line::median(&format!("anonymous of the agent with {MANY} policies, over one"), &anonymous, 1, "MiB", how);
    Ok(all.into_iter().map(line).chain([anonymous, shared]).collect())
}

/// One of many policies changes again and again.
fn changes(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let agent = started(bench, node)?;
    let (mut answered, mut planned) = (Samples::default(), Samples::default());
    apply(node, &agent, &policies(MANY, Call::Number, "client", 0)?)?;
    for version in 1..=u32::try_from(bench.runs)? {
        let applied = node.apply_with(&Bench::stack("security"), &policies(MANY, Call::Number, "client", version)?)?;
        let from = Instant::now();
        node.wait_until_active(applied, &agent)?;
        let (at, line) = agent.last_logged(CHANGED).context("the agent does not log that policies changed")?;
        answered.add(at.saturating_duration_since(from).as_secs_f64() * 1e3);
        planned.add(milliseconds(&line).with_context(|| format!("no time in {line}"))?);
    }
    agent.stop()?;
    let at = format!("one of {MANY} policies changes");
    Ok(vec![
        Line::median(&format!("{at}: from the fetched object to active"), &planned, 1, "ms", how)
            .at_most(CHANGE_MS, &planned),
        Line::median(&format!("{at}: from the API server's answer to active"), &answered, 1, "ms", how),
    ])
}

/// The field `milliseconds` of a line of the agent's log.
fn milliseconds(line: &str) -> Option<f64> {
    let value = line.split("milliseconds=").nth(1)?.split_whitespace().next()?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_the_bench_pass_the_planner() {
        for call in [Call::Number, Call::Rename] {
            let made = policies(3, call, "client", 2).unwrap();
            for policy in &made {
                trilobite_crds::policy::check::check(&policy.spec, false).unwrap();
            }
            let values: Vec<_> = made.iter().map(|policy| json!(policy.spec.tracepoints)).collect();
            assert!(values[0] != values[1] && values[1] != values[2]);
        }
    }

    #[test]
    fn time_of_a_change_is_read_from_the_log() {
        let line = "2026-01-01T00:00:00Z  INFO trilobite_node: policies changed policies=1000 milliseconds=12.5";
        assert_eq!(milliseconds(line), Some(12.5));
        assert_eq!(milliseconds("policies changed"), None);
    }
}
