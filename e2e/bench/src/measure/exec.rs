//! What an exec costs the one who does it: many short processes, one after the other, without and with the agent in turns.

use std::{
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    agent::{Agent, DesiredSource, Launch},
    bench::{Bench, absent, command},
    cgroup::Cgroup,
    node::Node,
    samples::{Pairs, Samples, paired},
    table::{Goal, Line},
};

const PROCESSES: u32 = 4000;
const GOAL: Goal = Goal(1.15);
/// Microseconds of the agent for one exec and exit.
const AGENT: Goal = Goal(30.0);
/// Longer than the agent waits before it writes new counts into its status.
const STATUS: Duration = Duration::from_secs(6);

#[derive(Default)]
struct ExecSamples {
    wall: Pairs,
    cpu: Pairs,
    agent: Samples,
}

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let how = format!("`execstorm {PROCESSES}` beside `trilobite-node run -f e2e/bench/stacks/security.yaml`");
    let mut lines =
        whole_machine(bench, &how).unwrap_or_else(|error| vec![absent("exec, events as JSON", &error, &how)]);
    let how = format!("`execstorm {PROCESSES}` in a pod, e2e/bench/stacks/security.yaml: {}", command("exec"));
    lines.extend(bench.on_node("exec in a pod", &how, |node| in_a_pod(bench, node, &how)));
    lines
}

/// Every event is made, and written as a JSON line.
fn whole_machine(bench: &Bench, how: &str) -> Result<Vec<Line>> {
    let storm = bench.workloads.join("execstorm");
    let mut seen = ExecSamples::default();
    let run = || run_storm(&storm, "trilobite-bench-storm");
    for number in 0..bench.runs {
        let pair = paired(number, run, || {
            let launch = Launch { program: &bench.agent, cgroup: "trilobite-bench-agent", output: None };
            let agent = Agent::start(launch, DesiredSource::File(&Bench::stack("security")))?;
            agent.wait_until_active()?;
            let with = seen.with(&agent, run)?;
            agent.stop()?;
            Ok(with)
        })?;
        seen.pair(pair);
    }
    Ok(seen.lines("events as JSON", how))
}

/// The node's own agent, whose events have no reader.
fn in_a_pod(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let storm = bench.workloads.join("execstorm");
    let mut seen = ExecSamples::default();
    let run = || {
        let (from, cpu) = (Instant::now(), node.pods.client.cgroup().cpu_seconds()?);
        node.pods.client.run(&storm, &[&PROCESSES.to_string()])?;
        Ok((from.elapsed().as_secs_f64(), node.pods.client.cgroup().cpu_seconds()? - cpu))
    };
    let applied = node.apply(&Bench::stack("security"))?;
    let mut lost = Samples::default();
    for number in 0..bench.runs {
        let pair = paired(number, run, || {
            let agent = node.agent(&bench.agent, None)?;
            node.wait_until_active(applied, &agent)?;
            let with = seen.with(&agent, run)?;
            // What is not read costs nothing: a ratio says something only where nothing was lost.
            thread::sleep(STATUS);
            lost.add(records_lost(&node.status()?));
            agent.stop()?;
            Ok(with)
        })?;
        seen.pair(pair);
    }
    let mut lines = seen.lines("in a pod, without a reader", how);
    lines.push(Line::median("records lost of them, in a pod, without a reader", &lost, 0, "", how));
    Ok(lines)
}

/// Of every place.
fn records_lost(status: &Value) -> f64 {
    let losses = status["losses"].as_array().into_iter().flatten();
    losses.filter_map(|loss| loss["count"].as_f64()).fold(0.0, |sum, count| sum + count)
}

/// Wall clock and CPU time of one storm, in seconds.
fn run_storm(storm: &Path, cgroup: &str) -> Result<(f64, f64)> {
    let cgroup = Cgroup::make(cgroup)?;
    let from = Instant::now();
    let status = cgroup.command(storm).arg(PROCESSES.to_string()).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "execstorm ended with {status}");
    Ok((from.elapsed().as_secs_f64(), cgroup.cpu_seconds()?))
}

impl ExecSamples {
    /// One storm beside the agent, whose own work is taken note of.
    fn with(&mut self, agent: &Agent, storm: impl FnOnce() -> Result<(f64, f64)>) -> Result<(f64, f64)> {
        let before = agent.cgroup().cpu_seconds()?;
        let with = storm()?;
        // What it has not read yet is its work as well.
        thread::sleep(Duration::from_secs(1));
        self.agent.add((agent.cgroup().cpu_seconds()? - before) * 1e6 / f64::from(PROCESSES));
        Ok(with)
    }

    fn pair(&mut self, (without, with): ((f64, f64), (f64, f64))) {
        self.wall.add(without.0, with.0);
        self.cpu.add(without.1, with.1);
    }

    fn lines(&self, title: &str, how: &str) -> Vec<Line> {
        let mut each = Samples::default();
        each.add(self.wall.without.median() * 1e6 / f64::from(PROCESSES));
        vec![
            Line::ratio(&format!("exec, {title}: time with / without the agent"), &self.wall, 3, Some(GOAL), how),
            Line::ratio(&format!("exec, {title}: CPU time of the program with / without"), &self.cpu, 3, None, how),
            Line::median(&format!("one fork, exec and exit, {title}: without the agent"), &each, 0, "us", how),
            Line::median(&format!("agent's CPU for one exec and exit, {title}"), &self.agent, 1, "us", how)
                .at_most(AGENT, &self.agent),
        ]
    }
}
