//! Memory of captured requests: what a profile needs before its first row, and the most that it has under load.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use trilobite_crds::AppProfileSpec;

use super::session::{apply, requests_state, row_count, worker};
use crate::{
    agent::Agent,
    bench::Bench,
    node::Node,
    process::Memory,
    samples::Samples,
    servers::Servers,
    table::{Goal, Line},
};

/// After this time watches are open and buffers have their size, as for the memory of an agent.
const SETTLE: Duration = Duration::from_secs(20);
const SAMPLE: Duration = Duration::from_millis(20);
const CONNECTIONS: u32 = 10_000;
const COMMANDS: u32 = 1_000_000;
const AGENT_GOAL: Goal = Goal(0.3);
const FIRST_ROW_GOAL: Goal = Goal(12.0);
const MIB: f64 = 1048576.0;

pub(super) fn before_the_first_row(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let (mut growth, mut workers) = (Samples::default(), Samples::default());
    let (mut kernels, mut both) = (Samples::default(), Samples::default());
    for _ in 0..bench.runs.min(3) {
        node.apply(&Bench::stack("idle"))?;
        let agent = node.agent(&bench.agent, None)?;
        apply(node, &agent, "idle")?;
        thread::sleep(SETTLE);
        let (idle, idle_kernel) = (agent.memory()?, kernel_memory(&agent)?);
        apply(node, &agent, "requests")?;
        thread::sleep(SETTLE);
        growth.add((agent.memory()?.anonymous_kib as f64 - idle.anonymous_kib as f64) / 1024.0);
        let worker = Memory::of(worker(&agent)?)?.anonymous_kib as f64 / 1024.0;
        let kernel = kernel_memory(&agent)? - idle_kernel;
        workers.add(worker);
        kernels.add(kernel);
        both.add(worker + kernel);
        agent.stop()?;
    }
    let title = |what: &str| format!("{what}, a profile of requests before the first row");
    Ok(vec![
        Line::median(&title("anonymous memory of the agent above idle"), &growth, 2, "MiB", how)
            .at_most(AGENT_GOAL, &growth),
        Line::median(&title("worker and kernel memory"), &both, 2, "MiB", how).at_most(FIRST_ROW_GOAL, &both),
        Line::median(&title("of it anonymous of the worker"), &workers, 2, "MiB", how),
        Line::median(&title("of it kernel memory of the agent's cgroup above idle"), &kernels, 2, "MiB", how),
    ])
}

/// The most that Redis gives, from 10,000 pipelined connections, or as many as the machine's limit of open files allows.
pub(super) fn under_load(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let servers = Servers::start(&node.pods)?;
    let connections = u32::try_from(servers.most_connections())?.min(CONNECTIONS);
    node.apply(&Bench::stack("idle"))?;
    let agent = node.agent(&bench.agent, None)?;
    let (mut rates, mut rows, mut lost) = (Samples::default(), Samples::default(), Samples::default());
    let (mut workers, mut kernels, mut both) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..bench.runs.min(3) {
        apply(node, &agent, "idle")?;
        thread::sleep(Duration::from_secs(2));
        let idle_kernel = kernel_memory(&agent)?;
        apply(node, &agent, "requests")?;
        let pid = worker(&agent)?;
        let load = || servers.redis_benchmark(&node.pods, connections, COMMANDS);
        // Memory of worker and kernel at the moment when their sum was highest.
        let mut highest = (0.0_f64, 0.0_f64);
        let rate = while_it_runs(load, || {
            let worker = Memory::of(pid)?.anonymous_kib as f64 / 1024.0;
            let kernel = kernel_memory(&agent)? - idle_kernel;
            if worker + kernel > highest.0 + highest.1 {
                highest = (worker, kernel);
            }
            Ok(())
        })?;
        rates.add(rate);
        workers.add(highest.0);
        kernels.add(highest.1);
        both.add(highest.0 + highest.1);
        let state = requests_state(node)?;
        rows.add(row_count(&state) / f64::from(COMMANDS));
        lost.add((state.lost_ring + state.lost_budget + state.lost_parse) as f64);
    }
    agent.stop()?;
    let budget = AppProfileSpec::default().memory_budget_bytes as f64 / MIB;
    let title = |what: &str| format!("{what}, Redis with {connections} connections and pipelines of 16");
    let mut most = Samples::default();
    most.add(both.highest());
    Ok(vec![
        Line::median(
            &title(&format!("most of worker and kernel memory, of a budget of {budget} MiB")),
            &both,
            2,
            "MiB",
            how,
        )
        .at_most(Goal(budget), &most),
        Line::median(&title("of it anonymous of the worker"), &workers, 2, "MiB", how),
        Line::median(&title("of it kernel memory of the agent's cgroup above idle"), &kernels, 2, "MiB", how),
        Line::median(&title("commands a second"), &rates, 0, "/s", how),
        Line::median(&title("rows / commands"), &rows, 3, "", how),
        Line::median(&title("lost records, rows and messages, counted"), &lost, 0, "", how),
    ])
}

/// Samples until the load has ended.
fn while_it_runs(load: impl FnOnce() -> Result<f64> + Send, mut sample: impl FnMut() -> Result<()>) -> Result<f64> {
    thread::scope(|scope| {
        let load = scope.spawn(load);
        let mut sampled = Ok(());
        while !load.is_finished() {
            sampled = sampled.and_then(|()| sample());
            thread::sleep(SAMPLE);
        }
        let rate = load.join().map_err(|_| anyhow!("the load ended in a panic"))?;
        sampled?;
        rate
    })
}

/// Of the cgroup of agent and workers, in MiB: programs, maps, rings, page tables.
fn kernel_memory(agent: &Agent) -> Result<f64> {
    let bytes = agent.cgroup().kernel_memory().context("the kernel does not count the memory of cgroups")?;
    Ok(bytes as f64 / MIB)
}
