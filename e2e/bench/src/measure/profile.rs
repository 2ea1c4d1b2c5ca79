//! What a CPU profile costs a machine whose CPUs are all busy: work done for each second of CPU time, in turns.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    bench::{Bench, command},
    node::Node,
    samples::{Pairs, Samples},
    table::{Goal, Line},
    traffic::Traffic,
};

const SECONDS: u32 = 8;
const GOAL: Goal = Goal(1.01);

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let how = format!("`trilobite-bench traffic burn`, e2e/bench/stacks/application.yaml: {}", command("profile"));
    bench.on_node("profile", &how, |node| busy(bench, node, &how))
}

fn busy(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let burn = Traffic::Burn { threads: u32::try_from(cores)?, seconds: SECONDS };
    // CPU time for so much work: what else runs on the machine takes time away, but no work.
    let cost = || -> Result<f64> {
        let before = node.pods.client.cgroup().cpu_seconds()?;
        let done = node.pods.client.generate(&burn)?;
        let spent = node.pods.client.cgroup().cpu_seconds()? - before;
        Ok(spent / done["rounds"].as_f64().context("no count of rounds")? * 1e6)
    };
    let (mut pairs, mut share, mut samples) = (Pairs::default(), Samples::default(), Samples::default());
    for _ in 0..bench.runs {
        let without = cost()?;
        let applied = node.apply(&Bench::stack("application"))?;
        let agent = node.agent(&bench.agent, None)?;
        node.wait_until_active(applied, &agent)?;
        let before = agent.cgroup().cpu_seconds()?;
        let with = cost()?;
        share.add((agent.cgroup().cpu_seconds()? - before) / f64::from(SECONDS) * 100.0);
        pairs.add(without, with);
        // Counts alone reach the status every five seconds.
        thread::sleep(Duration::from_secs(6));
        let records = node.status()?["sessions"][0]["records"].as_f64().unwrap_or_default();
        ensure!(records > 0.0, "the agent says that it profiles, and has no sample");
        samples.add(records);
        agent.stop()?;
    }
    Ok(vec![
        Line::ratio("49 Hz profile: CPU time for the same work with / without the agent", &pairs, 4, Some(GOAL), how),
        Line::median("49 Hz profile: CPU of agent and worker", &share, 2, "% of one CPU", how),
        Line::median(&format!("samples that the agent reports after {SECONDS} s"), &samples, 0, "", how),
    ])
}
