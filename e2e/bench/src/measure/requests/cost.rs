//! CPU time and latency of servers whose requests are captured, with and without an AppProfile in turns. Server and client share
//! one CPU: on two, each waits for the other on a CPU that goes idle, and waking a virtual CPU takes longer than the request.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::session::{apply, requests_state, row_count, worker};
use crate::{
    agent::Agent,
    bench::Bench,
    node::Node,
    pinned::Pinned,
    process::cpu_seconds,
    request_load::{RequestLoad, Service},
    samples::{Pairs, Samples, paired},
    servers::Servers,
    table::{Goal, Line},
    traffic::{Traffic, number, rate},
};

const SECONDS: u32 = 3;
/// Commands of Redis a second, as in OBI #1025.
const REDIS_RATE: u32 = 10_000;
const NGINX_GOAL: Goal = Goal(1.05);
const REDIS_GOAL: Goal = Goal(1.10);
const P99_GOAL: Goal = Goal(1.05);
const UNSELECTED_GOAL: Goal = Goal(1.01);
const SECOND_PROFILE_GOAL: Goal = Goal(1.02);
/// Microseconds of the worker for one request.
const WORKER_GOAL: Goal = Goal(5.0);

struct Measured<'a> {
    bench: &'a Bench,
    node: &'a Node,
    agent: &'a Agent,
    servers: &'a Servers,
    how: &'a str,
}

/// What was measured of one server in one turn.
struct Turn {
    /// Microseconds of CPU of its pod for a request.
    cpu: f64,
    /// 99th percentile of latency, in microseconds.
    p99: f64,
    requests: f64,
}

pub(super) fn of_servers(bench: &Bench, node: &Node, how: &str) -> Result<Vec<Line>> {
    let servers = Servers::start(&node.pods)?;
    node.apply(&Bench::stack("idle"))?;
    let agent = node.agent(&bench.agent, None)?;
    let measured = Measured { bench, node, agent: &agent, servers: &servers, how };
    let mut lines = Vec::new();
    for service in [Service::Nginx, Service::Redis] {
        lines.extend(measured.selected(service)?);
        let title = "with / without a profile of another pod";
        lines.push(measured.ratio(service, ["idle", "requests-other"], title, UNSELECTED_GOAL)?);
        let title = "with a second profile, of another pod, / with its own alone";
        lines.push(measured.ratio(service, ["requests", "requests-two"], title, SECOND_PROFILE_GOAL)?);
    }
    agent.stop()?;
    Ok(lines)
}

/// What was measured of one server whose pod is selected.
struct Selected {
    service: Service,
    half: Samples,
    cpu: Pairs,
    p99: Pairs,
    worker: Samples,
    all: Samples,
    rows: Samples,
}

impl Selected {
    fn lines(&self, how: &str) -> Vec<Line> {
        let (load, goal) = load_of(self.service);
        let name = name_of(self.service);
        let title = |what: &str| format!("{load}: CPU of its pod for a request {what}");
        let median = |what: &str, samples, decimals, unit| {
            Line::median(&format!("{name}: {what}"), samples, decimals, unit, how)
        };
        let p99 = format!("{name} at half of saturation: p99 of latency with / without a profile");
        vec![
            Line::ratio(&title("with / without a profile"), &self.cpu, 3, Some(goal), how),
            Line::median(&title("without a profile"), &self.cpu.without, 2, "us", how),
            Line::ratio(&p99, &self.p99, 3, Some(P99_GOAL), how),
            median("half of saturation, client and server on one CPU", &self.half, 0, "/s"),
            median("p99 of latency there, without a profile", &self.p99.without, 0, "us"),
            median("CPU of the worker for a request", &self.worker, 2, "us").at_most(WORKER_GOAL, &self.worker),
            median("CPU of agent and worker for a request", &self.all, 2, "us"),
            median("rows / requests", &self.rows, 3, ""),
        ]
    }
}

impl Measured<'_> {
    /// The server whose pod is selected.
    fn selected(&self, service: Service) -> Result<Vec<Line>> {
        apply(self.node, self.agent, "idle")?;
        let rate = (rate(&self.load(service, 0)?, "requests")? / 2.0) as u32;
        let mut half = Samples::default();
        half.add(f64::from(rate));
        let (mut cpu, mut p99) = (Pairs::default(), Pairs::default());
        let (mut worker_cpu, mut all_cpu, mut rows) = (Samples::default(), Samples::default(), Samples::default());
        for turn in 0..self.bench.runs {
            let without = || {
                apply(self.node, self.agent, "idle")?;
                self.turn(service, rate)
            };
            let (without, with) = paired(turn, without, || {
                apply(self.node, self.agent, "requests")?;
                let worker = worker(self.agent)?;
                let before = (cpu_seconds(worker)?, self.agent.cgroup().cpu_seconds()?);
                let turn = self.turn(service, rate)?;
                let state = requests_state(self.node)?;
                worker_cpu.add((cpu_seconds(worker)? - before.0) * 1e6 / turn.requests);
                all_cpu.add((self.agent.cgroup().cpu_seconds()? - before.1) * 1e6 / turn.requests);
                ensure!(row_count(&state) > 0.0, "the session is active and has no row: {state:?}");
                rows.add(row_count(&state) / turn.requests);
                Ok(turn)
            })?;
            cpu.add(without.cpu, with.cpu);
            p99.add(without.p99, with.p99);
        }
        Ok(Selected { service, half, cpu, p99, worker: worker_cpu, all: all_cpu, rows }.lines(self.how))
    }

    /// CPU for a request under the second of two stacks over that under the first.
    fn ratio(&self, service: Service, stacks: [&str; 2], title: &str, goal: Goal) -> Result<Line> {
        let mut cpu = Pairs::default();
        let under = |stack: &str| {
            apply(self.node, self.agent, stack)?;
            Ok(self.cpu(service)?.0)
        };
        for turn in 0..self.bench.runs {
            let (first, second) = paired(turn, || under(stacks[0]), || under(stacks[1]))?;
            cpu.add(first, second);
        }
        let title = format!("{}: CPU of its pod for a request {title}", load_of(service).0);
        Ok(Line::ratio(&title, &cpu, 3, Some(goal), self.how))
    }

    fn turn(&self, service: Service, rate: u32) -> Result<Turn> {
        let (cpu, requests) = self.cpu(service)?;
        let done = self.load(service, rate)?;
        Ok(Turn { cpu, p99: number(&done, "p99")? * 1e6, requests: requests + number(&done, "requests")? })
    }

    /// Microseconds of CPU of the server's pod for a request, and how many there were.
    fn cpu(&self, service: Service) -> Result<(f64, f64)> {
        let cgroup = self.node.pods.server.cgroup();
        let before = cgroup.cpu_seconds()?;
        let requests = match service {
            Service::Nginx => self.servers.wrk(&self.node.pods, SECONDS)?,
            Service::Redis => number(&self.load(service, REDIS_RATE)?, "requests")?,
        };
        Ok(((cgroup.cpu_seconds()? - before) * 1e6 / requests, requests))
    }

    fn load(&self, service: Service, rate: u32) -> Result<Value> {
        let address: IpAddr = self.node.pods.server.address.parse()?;
        let pinned = Pinned { to_last_cpu: true };
        let load = RequestLoad { address, port: service.port(), service, rate, seconds: SECONDS, pinned };
        self.node.pods.client.generate(&Traffic::Requests(load))
    }
}

fn load_of(service: Service) -> (&'static str, Goal) {
    match service {
        Service::Nginx => ("nginx and wrk at saturation", NGINX_GOAL),
        Service::Redis => ("Redis at 10,000 op/s", REDIS_GOAL),
    }
}

fn name_of(service: Service) -> &'static str {
    match service {
        Service::Nginx => "nginx",
        Service::Redis => "Redis",
    }
}
