//! Time to load and to unload: of a process that starts and ends with a stack, and of a layer that comes and goes on demand.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    agent::{Agent, DesiredSource, Launch},
    bench::{Bench, absent, command},
    node::Node,
    process::Memory,
    samples::Samples,
    table::Line,
};

/// Without any change for this time, everything that was asked for is loaded.
const STILL: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    for stack in ["idle", "security"] {
        let how = format!("`trilobite-node run -f e2e/bench/stacks/{stack}.yaml`");
        lines.extend(
            process(bench, stack, &how).unwrap_or_else(|error| vec![absent(&format!("start, {stack}"), &error, &how)]),
        );
    }
    for layer in ["security", "network", "application"] {
        let how = format!("e2e/bench/stacks/{layer}.yaml: {}", command("load"));
        lines.extend(bench.on_node(&format!("{layer} on demand"), &how, |node| on_demand(bench, node, layer, &how)));
    }
    lines
}

fn process(bench: &Bench, stack: &str, how: &str) -> Result<Vec<Line>> {
    let (mut start, mut end) = (Samples::default(), Samples::default());
    for _ in 0..bench.runs {
        let launch = Launch { program: &bench.agent, cgroup: "trilobite-bench-agent", output: None };
        let agent = Agent::start(launch, DesiredSource::File(&Bench::stack(stack)))?;
        let took = if stack == "idle" { agent.age() } else { agent.wait_until_active()? };
        start.add(took.as_secs_f64() * 1e3);
        thread::sleep(STILL);
        end.add(agent.stop()?.as_secs_f64() * 1e3);
    }
    let until = if stack == "idle" { "it answers" } else { "`active`" };
    Ok(vec![
        Line::median(&format!("from start to {until}, {stack}"), &start, 1, "ms", how),
        Line::median(&format!("from SIGTERM to exit, {stack}"), &end, 1, "ms", how),
    ])
}

fn on_demand(bench: &Bench, node: &Node, layer: &str, how: &str) -> Result<Vec<Line>> {
    node.apply(&Bench::stack("idle"))?;
    let agent = node.agent(&bench.agent, None)?;
    thread::sleep(Duration::from_secs(2));
    ensure!(agent.memory()?.bpf_bytes == 0, "an agent without a task holds programs or maps");
    let (mut load, mut unload) = (Samples::default(), Samples::default());
    for _ in 0..bench.runs {
        let applied = node.apply(&Bench::stack(layer))?;
        load.add(settled(&agent, true)?.as_secs_f64() * 1e3);
        node.wait_until_active(applied, &agent)?;
        node.apply(&Bench::stack("idle"))?;
        unload.add(settled(&agent, false)?.as_secs_f64() * 1e3);
    }
    agent.stop()?;
    Ok(vec![
        Line::median(&format!("from the API server's answer to loaded, {layer}"), &load, 1, "ms", how),
        Line::median(&format!("from the API server's answer to nothing left, {layer}"), &unload, 1, "ms", how),
    ])
}

/// The time from now until what the agent holds in the kernel changes for the last time.
fn settled(agent: &Agent, loaded: bool) -> Result<Duration> {
    let from = Instant::now();
    let mut last = (0, Duration::ZERO);
    while from.elapsed() < PATIENCE {
        let bytes = Memory::of(agent.pid())?.bpf_bytes;
        if bytes != last.0 {
            last = (bytes, from.elapsed());
        }
        if (bytes > 0) == loaded && from.elapsed() - last.1 > STILL {
            return Ok(last.1);
        }
        thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("{} bytes of programs and maps after {PATIENCE:?}", last.0)
}
