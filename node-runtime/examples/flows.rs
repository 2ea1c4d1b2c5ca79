//! Watches one interface and prints its flows as Hubble's JSON, then what it carried in flows and outside them:
//! `cargo run -p trilobite-node --example flows -- eth0 10`. Needs root.

#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Context;
use trilobite_node::{
    kernel::probe,
    layers::network::{
        enrich::{Enricher, WatchTarget},
        flow::{Flow, Interface},
        netlink,
        sources::{
            FlowSink,
            packet_hooks::PacketHooks,
            tcx::{IdleTimeouts, MapSizes, REMOVE_ENDED_AFTER, TcxPrograms},
        },
    },
    serve::hubble,
};
use trilobite_node_ebpf::{FLOW_ENTRIES, FLOW_RING_BYTES};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("which interface?")?;
    let seconds = arguments.next().map_or(Ok(10), |text| text.parse()).context("for how many seconds?")?;
    let links = netlink::links()?;
    let link = links.into_iter().find(|link| link.name == name).with_context(|| format!("there is no {name}"))?;

    let mut enricher = Enricher::new(std::process::id().into());
    enricher.local = netlink::addresses()?;
    let mut print = |flow: Flow| {
        let mut line = Vec::new();
        hubble::append_json_line(&flow, "here", &mut line);
        // A reader that has closed the pipe wants no more.
        let _ = std::io::stdout().write_all(&line);
    };
    let sink = &mut FlowSink { enricher: &mut enricher, emit: &mut print };
    let sizes = MapSizes { flow_entries: FLOW_ENTRIES, ring_bytes: FLOW_RING_BYTES };
    let behind = link.peer_namespace.is_some();
    let target = WatchTarget { interface: Interface { index: link.index, name: link.name }, pod: None, behind };
    let began = Instant::now();
    let mut programs = TcxPrograms::new(PacketHooks::new(probe::packet_attach(), None));
    let problems = programs.watch(sizes, &[target], sink).map_err(|problem| anyhow::anyhow!(problem.message()))?;
    if let Some(problem) = problems.values().next() {
        anyhow::bail!(problem.message());
    }
    eprintln!("watching {name} after {:?}", began.elapsed());

    let ring = programs.ring().context("no ring")?;
    let end = began + Duration::from_secs(seconds);
    while Instant::now() < end {
        let _ = tokio::time::timeout(Duration::from_secs(1), ring.readable()).await;
        programs.drain(sink);
        let mut ended = 0;
        while let Ok(some) = programs.end_idle(IdleTimeouts::NORMAL, sink) {
            ended += some.flows;
            if !some.more {
                break;
            }
        }
        if ended > 0 {
            tokio::time::sleep(REMOVE_ENDED_AFTER).await;
            programs.remove_ended().map_err(|problem| anyhow::anyhow!(problem.message()))?;
        }
    }
    for ((_, direction), sum) in programs.sums() {
        eprintln!("{direction:?}: {sum:?}");
    }
    let began = Instant::now();
    programs.stop(sink);
    eprintln!("gone after {:?}", began.elapsed());
    Ok(())
}
