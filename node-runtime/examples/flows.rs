//! Watches one interface and prints its flows as Hubble's JSON, then what it carried in flows and outside them:
//! `cargo run -p trilobite-node --example flows -- eth0 10`. Needs root and a kernel from 6.6 on.

#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Context;
use trilobite_node::{
    layers::network::{
        engine::{ENDED_FOR, Engine, PATIENCE, Target},
        flow::{Flow, Interface},
        netlink,
        tap::Sizes,
    },
    serve::hubble,
};
use trilobite_node_ebpf::limits::{FLOW_ENTRIES, FLOW_RING_BYTES};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("which interface?")?;
    let seconds = arguments.next().map_or(Ok(10), |text| text.parse()).context("for how many seconds?")?;
    let links = netlink::links()?;
    let link = links.into_iter().find(|link| link.name == name).with_context(|| format!("there is no {name}"))?;

    let mut engine = Engine::new(std::process::id().into());
    engine.know(Vec::new(), netlink::addresses()?);
    let sizes = Sizes { flow_entries: FLOW_ENTRIES, ring_bytes: FLOW_RING_BYTES };
    let behind = link.peer_namespace.is_some();
    let target = Target { interface: Interface { index: link.index, name: link.name }, pod: None, behind };
    let began = Instant::now();
    let problems = engine.set(sizes, &[target], &mut print).map_err(|problem| anyhow::anyhow!(problem.message()))?;
    if let Some(problem) = problems.values().next() {
        anyhow::bail!(problem.message());
    }
    eprintln!("watching {name} after {:?}", began.elapsed());

    let ring = engine.ring().context("what watches has a ring")?;
    let end = began + Duration::from_secs(seconds);
    while Instant::now() < end {
        let _ = tokio::time::timeout(Duration::from_secs(1), ring.readable()).await;
        engine.drain(&mut print);
        let mut ended = 0;
        while let Ok(some) = engine.end_idle(PATIENCE, &mut print) {
            ended += some.flows;
            if !some.more {
                break;
            }
        }
        if ended > 0 {
            tokio::time::sleep(ENDED_FOR).await;
            engine.remove_ended().map_err(|problem| anyhow::anyhow!(problem.message()))?;
        }
    }
    for ((_, direction), sum) in engine.sums() {
        eprintln!("{direction:?}: {sum:?}");
    }
    let began = Instant::now();
    engine.stop(&mut print);
    eprintln!("gone after {:?}", began.elapsed());
    Ok(())
}

fn print(flow: Flow) {
    let mut line = Vec::new();
    hubble::append_json_line(&flow, "here", &mut line);
    // Whoever has closed the pipe wants no more.
    let _ = std::io::stdout().write_all(&line);
}
