//! Memory of the agent: what is resident, what of it is its own, and what the kernel holds for it.

use std::{thread, time::Duration};

use anyhow::Result;

use crate::{
    agent::{Agent, DesiredSource, Launch},
    bench::{Bench, absent, command},
    node::Node,
    process::{Memory, agents_of_a_daemonset},
    samples::Samples,
    table::{Goal, Line},
};

/// After this time nothing is still on its way: watches are open, buffers have their size, and the agent has given back the code
/// that its start alone has used, ten seconds after it. What an agent uses now and then, e.g. once a minute, is not in the number.
const SETTLE: Duration = Duration::from_secs(20);
const RSS: Goal = Goal(12.5);
const ANONYMOUS: Goal = Goal(1.3);
/// What makes the DaemonSet's agents.
const CLUSTER: &str = "`make cluster-up`, the charts, then `e2e/bench/run.sh memory`";
const MIB: f64 = 1048576.0;

#[derive(Default)]
struct MemorySamples {
    rss: Samples,
    anonymous: Samples,
    threads: Samples,
    bpf: Samples,
    kernel: Samples,
    others: Samples,
}

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let mut lines = alone(bench, "idle")
        .unwrap_or_else(|error| vec![absent("memory without a cluster", &error, &command("memory"))]);
    lines.extend(of_daemonset().unwrap_or_else(|error| vec![absent("memory of the DaemonSet", &error, CLUSTER)]));
    for stack in ["idle", "security", "network", "application", "all"] {
        let title = format!("memory with an API server, {stack}");
        lines.extend(bench.on_node(&title, &command("memory"), |node| in_cluster(bench, node, stack)));
    }
    lines
}

fn alone(bench: &Bench, stack: &str) -> Result<Vec<Line>> {
    let mut seen = MemorySamples::default();
    for _ in 0..bench.runs.min(3) {
        let launch = Launch { program: &bench.agent, cgroup: "trilobite-bench-agent", output: None };
        let agent = Agent::start(launch, DesiredSource::File(&Bench::stack(stack)))?;
        seen.sample(&agent)?;
        agent.stop()?;
    }
    Ok(seen.lines(
        &format!("without a cluster, {stack}"),
        &format!("`trilobite-node run -f e2e/bench/stacks/{stack}.yaml`"),
        // The goals are for what nodes of a cluster run; CEL rules, which files need, are in the memory of this one.
        false,
    ))
}

fn in_cluster(bench: &Bench, node: &Node, stack: &str) -> Result<Vec<Line>> {
    let applied = node.apply(&Bench::stack(stack))?;
    let mut seen = MemorySamples::default();
    for _ in 0..bench.runs.min(3) {
        let agent = node.agent(&bench.agent, None)?;
        node.wait_until_active(applied, &agent)?;
        seen.sample(&agent)?;
        agent.stop()?;
    }
    let how = format!("`trilobite-node agent`, e2e/bench/stacks/{stack}.yaml: {}", command("memory"));
    Ok(seen.lines(&format!("with an API server, {stack}"), &how, stack == "idle"))
}

/// The agents of the two-node cluster, where it runs: in their image, below their limits, with what its stack asks for.
/// Without that cluster there is no line.
fn of_daemonset() -> Result<Vec<Line>> {
    let agents = agents_of_a_daemonset();
    if agents.is_empty() {
        eprintln!(
            "no two-node cluster runs: the agents of a DaemonSet are not measured (`make cluster-up`, `make demo`)"
        );
        return Ok(Vec::new());
    }
    let (mut rss, mut anonymous, mut idle) = (Samples::default(), Samples::default(), true);
    for pid in agents {
        let memory = Memory::of(pid)?;
        rss.add(memory.rss_kib as f64 / 1024.0);
        anonymous.add(memory.anonymous_kib as f64 / 1024.0);
        idle &= memory.bpf_bytes == 0;
    }
    let title =
        if idle { "of the DaemonSet's agents, idle" } else { "of the DaemonSet's agents, with the cluster's stack" };
    let mut lines = [
        Line::median(&format!("RSS {title}"), &rss, 1, "MiB", CLUSTER),
        Line::median(&format!("anonymous {title}"), &anonymous, 2, "MiB", CLUSTER),
    ];
    if idle {
        let [resident, own] = lines;
        lines = [resident.at_most(RSS, &rss), own.at_most(ANONYMOUS, &anonymous)];
    }
    Ok(lines.into())
}

impl MemorySamples {
    fn sample(&mut self, agent: &Agent) -> Result<()> {
        thread::sleep(SETTLE);
        let memory = agent.memory()?;
        self.rss.add(memory.rss_kib as f64 / 1024.0);
        self.anonymous.add(memory.anonymous_kib as f64 / 1024.0);
        self.threads.add(memory.threads as f64);
        self.bpf.add(memory.bpf_bytes as f64 / MIB);
        if let Some(bytes) = agent.cgroup().kernel_memory() {
            self.kernel.add(bytes as f64 / MIB);
        }
        let others = agent.cgroup().processes().into_iter().filter(|pid| *pid != agent.pid());
        let anonymous: u64 = others.filter_map(|pid| Memory::of(pid).ok()).map(|other| other.anonymous_kib).sum();
        self.others.add(anonymous as f64 / 1024.0);
        Ok(())
    }

    fn lines(&self, title: &str, how: &str, idle: bool) -> Vec<Line> {
        let mut rss = Line::median(&format!("RSS {title}"), &self.rss, 1, "MiB", how);
        let mut anonymous = Line::median(&format!("anonymous {title}"), &self.anonymous, 2, "MiB", how);
        if idle {
            rss = rss.at_most(RSS, &self.rss);
            anonymous = anonymous.at_most(ANONYMOUS, &self.anonymous);
        }
        let mut lines = vec![rss, anonymous];
        if self.others.median() > 0.0 {
            lines.push(Line::median(&format!("anonymous of the worker {title}"), &self.others, 2, "MiB", how));
        }
        lines.push(Line::median(&format!("kernel memory of the agent's cgroup {title}"), &self.kernel, 2, "MiB", how));
        if self.bpf.median() > 0.0 {
            lines.push(Line::median(&format!("of it programs and maps (memlock) {title}"), &self.bpf, 2, "MiB", how));
        }
        lines.push(Line::median(&format!("threads {title}"), &self.threads, 0, "", how));
        lines
    }
}
