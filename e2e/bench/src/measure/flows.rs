//! What flows cost: connections at a rate, and one bulk stream, between two pods, without and with the agent in turns.
//!
//! Client and server share one CPU where a ratio is measured. On two CPUs each waits for the other on a CPU that goes idle, and
//! waking an idle virtual CPU takes longer than the connection: an agent that keeps it awake made connections faster.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    bench::{Bench, command},
    node::Node,
    pinned::Pinned,
    samples::{Pairs, Samples, paired},
    table::{Goal, Line},
    traffic::{Traffic, number, rate},
};

const RATE: u32 = 500;
const SECONDS: u32 = 5;
const BULK_SECONDS: u32 = 3;
/// Longer than the agent waits before it ends a closed flow and writes its last record, in seconds.
const DRAIN: Duration = Duration::from_secs(8);
const CONNECTIONS_GOAL: Goal = Goal(1.1);
/// Rates that are tried in turn, until a connection is missing.
const RATES: [u32; 5] = [500, 1000, 2000, 4000, 8000];
/// No rate goes on for longer than so many take.
const CONNECTIONS_MOST: u32 = 10_000;
const ANYWHERE: Pinned = Pinned { to_last_cpu: false };
const BESIDE_THE_SERVER: Pinned = Pinned { to_last_cpu: true };
/// Each connection has a port of its own, so that none is lost behind another on the same one.
const FROM_PORTS: [u16; RATES.len()] = [12_000, 22_500, 33_000, 43_500, 54_000];

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let how = format!("`trilobite-bench traffic connect|bulk`, e2e/bench/stacks/flows.yaml: {}", command("flows"));
    let mut lines = bench.on_node("flows", &how, |node| between_pods(bench, node, &how));
    let title = "most connections a second of which none is missing";
    lines.extend(bench.on_node(title, &how, |node| without_loss(bench, node, title, &how)));
    lines
}

/// Goes through the rates until a connection is made that no flow shows; gives what was reached before.
fn without_loss(bench: &Bench, node: &Node, title: &str, how: &str) -> Result<Vec<Line>> {
    let address: IpAddr = node.pods.server.address.parse()?;
    let output = std::env::temp_dir().join(format!("trilobite-bench-{}.flows", std::process::id()));
    let mut best = Samples::default();
    for _ in 0..bench.runs.min(3) {
        // AppliedSpec for something else in between, so that the answer of the agent before is not taken for this one's.
        node.apply(&Bench::stack("idle"))?;
        let agent = node.agent(&bench.agent, Some(&output))?;
        node.wait_until_active(node.apply(&Bench::stack("flows"))?, &agent)?;
        let mut reached = 0.0;
        for (wanted, from_port) in RATES.into_iter().zip(FROM_PORTS) {
            let seconds = SECONDS.min(CONNECTIONS_MOST / wanted).max(1);
            let before = fs::metadata(&output)?.len();
            let made = node.pods.client.generate(&Traffic::Connect {
                address,
                rate: wanted,
                seconds,
                from_port,
                pinned: ANYWHERE,
            })?;
            thread::sleep(DRAIN);
            let count = made["connections"].as_u64().context("no count of connections")?;
            let seen = seen_since(&output, before)?;
            if seen < count {
                eprintln!("at {wanted}/s {} of {count} are missing; lost: {}", count - seen, node.status()?["losses"]);
                break;
            }
            // One client, one connection after the other: it may be the client that is slower.
            reached = rate(&made, "connections")?.max(reached);
        }
        best.add(reached);
        agent.stop()?;
    }
    fs::remove_file(&output)?;
    Ok(vec![Line::median(title, &best, 0, "/s", how)])
}

fn between_pods(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let address: IpAddr = node.pods.server.address.parse()?;
    let output = std::env::temp_dir().join(format!("trilobite-bench-{}.flows", std::process::id()));
    let at_rate = Traffic::Connect { address, rate: RATE, seconds: SECONDS, from_port: 0, pinned: ANYWHERE };
    let unbound = Traffic::Connect { address, rate: 0, seconds: BULK_SECONDS, from_port: 0, pinned: BESIDE_THE_SERVER };
    let bulk = Traffic::Bulk { address, seconds: BULK_SECONDS, pinned: BESIDE_THE_SERVER };
    let client = &node.pods.client;
    let (mut streams, mut connections) = (Pairs::default(), Pairs::default());
    let (mut bytes, mut most_connections) = (Samples::default(), Samples::default());
    let (mut flows, mut cpu, mut complete) = (Samples::default(), Samples::default(), Samples::default());
    let speeds = || -> Result<(f64, f64)> {
        Ok((rate(&client.generate(&bulk)?, "bytes")?, rate(&client.generate(&unbound)?, "connections")?))
    };
    for turn in 0..bench.runs {
        let (without, with) = paired(turn, speeds, || {
            let applied = node.apply(&Bench::stack("flows"))?;
            let agent = node.agent(&bench.agent, Some(&output))?;
            node.wait_until_active(applied, &agent)?;
            // First, while no other connection has a record to come.
            let before = agent.cgroup().cpu_seconds()?;
            let made = client.generate(&at_rate)?;
            thread::sleep(DRAIN);
            let spent = agent.cgroup().cpu_seconds()? - before;
            let found = seen(&output)? as f64;
            let with = speeds()?;
            agent.stop()?;
            let count = number(&made, "connections")?;
            ensure!(found > 0.0, "the agent says that it watches, and shows no flow");
            flows.add(found / number(&made, "seconds")?);
            cpu.add(spent * 1e6 / count);
            complete.add(found / count);
            Ok(with)
        })?;
        bytes.add(without.0 / 1e9);
        most_connections.add(without.1);
        streams.add(1.0 / without.0, 1.0 / with.0);
        connections.add(1.0 / without.1, 1.0 / with.1);
    }
    fs::remove_file(&output)?;
    Ok(vec![
        Line::ratio("bulk TCP stream: time for a byte with / without the agent", &streams, 3, None, how),
        Line::median("bulk TCP stream without the agent", &bytes, 2, "GB/s", how),
        Line::ratio(
            "connections, one after the other: time for one with / without the agent",
            &connections,
            3,
            Some(CONNECTIONS_GOAL),
            how,
        ),
        Line::median("connections a second, one after the other, without the agent", &most_connections, 0, "/s", how),
        Line::median(&format!("connections seen a second, at {RATE}/s"), &flows, 0, "/s", how),
        Line::median("connections seen / made", &complete, 3, "", how),
        Line::median("agent's CPU for one connection, both ends on the node", &cpu, 1, "us", how),
    ])
}

/// Connections in the agent's output.
fn seen(output: &Path) -> Result<u64> {
    seen_since(output, 0)
}

/// The same of what was written after the first so many bytes. A connection is its first SYN, which two interfaces show;
/// its ports may be those of one before it.
fn seen_since(output: &Path, bytes: u64) -> Result<u64> {
    let text = fs::read_to_string(output).with_context(|| format!("reading {}", output.display()))?;
    let text = text.get(usize::try_from(bytes)?..).unwrap_or_default();
    let mut begun: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
    for flow in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let Some((port, interface)) = begins(&flow["flow"]) {
            *begun.entry(port).or_default().entry(interface).or_default() += 1;
        }
    }
    Ok(begun.values().filter_map(|interfaces| interfaces.values().max()).sum())
}

/// The client's port, and the interface.
fn begins(flow: &Value) -> Option<(u64, String)> {
    let tcp = &flow["l4"]["TCP"];
    let is_first = tcp["flags"]["SYN"] == true && tcp["flags"]["ACK"].is_null();
    is_first.then(|| Some((tcp["source_port"].as_u64()?, flow["interface"].to_string()))).flatten()
}
