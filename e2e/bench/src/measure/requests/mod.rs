//! What captured requests cost: the servers that answer them, the worker, and memory.

mod cost;
mod memory;
mod session;

use crate::{
    bench::{Bench, command},
    table::Line,
};

pub(super) fn measure(bench: &Bench) -> Vec<Line> {
    let how = format!("nginx and Redis in a pod, e2e/bench/stacks/requests*.yaml: {}", command("requests"));
    let mut lines = bench.on_node("memory of requests", &how, |node| memory::before_the_first_row(bench, node, &how));
    lines.extend(bench.on_node("cost of requests", &how, |node| cost::of_servers(bench, node, &how)));
    lines.extend(bench.on_node("memory of requests under load", &how, |node| memory::under_load(bench, node, &how)));
    lines
}
