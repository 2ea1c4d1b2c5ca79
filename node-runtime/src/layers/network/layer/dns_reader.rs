//! The task that drives the worker of DNS: it makes flows of what the worker says, and starts another when it has ended.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use trilobite_backoff::ExponentialBackoff;
use trilobite_worker_wire::{DnsSeen, Message};

use super::pipeline::FlowPipeline;
use crate::{
    kernel::clock,
    layers::{
        network::sources::dns::{DnsFlow, DnsRing, Outcome, dns_flow},
        worker::{WorkerProcess, WorkerProgram},
    },
    problem::Problem,
};

/// Memory of the worker: of the queries and messages that wait, and of TCP streams.
const MEMORY_BYTES: u64 = 24 << 20;
/// Delays before another worker is started.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A worker that has lived for so long has not failed at its start.
const IS_STABLE: Duration = Duration::from_secs(120);
/// Interval at which it is checked whether the worker still reports.
const TICK: Duration = Duration::from_secs(1);
/// Messages wait while the owners of their addresses are listed for the first time.
const NAMES_RETRY: Duration = Duration::from_millis(20);

/// Runs until it is aborted, which ends the worker.
pub(super) async fn read_dns(pipeline: Arc<Mutex<FlowPipeline>>, ring: Arc<DnsRing>, program: WorkerProgram) {
    let mut backoff = ExponentialBackoff::between(FIRST_DELAY, LONGEST_DELAY);
    // The first worker of a ring begins at its head.
    let mut skip = 0;
    loop {
        let started = Instant::now();
        let detail = match start_worker(&program, &ring, skip) {
            Ok(mut worker) => {
                pipeline.lock().dns.set_worker(None);
                let error = follow(&pipeline, &mut worker).await;
                // It may have died of the record at the head of the ring.
                skip = 1;
                format!("{error} ({})", worker.kill())
            }
            Err(error) => error.to_string(),
        };
        if started.elapsed() >= IS_STABLE {
            backoff.reset();
        }
        let delay = backoff.next_delay();
        let detail =
            format!("the worker process that reads DNS: {detail}; started again in {:.1} s", delay.as_secs_f32());
        tracing::warn!("{detail}");
        pipeline.lock().dns.set_worker(Some(Problem::WorkerFailed { detail }));
        sleep(delay).await;
    }
}

fn start_worker(program: &WorkerProgram, ring: &DnsRing, skip: u32) -> io::Result<WorkerProcess> {
    let job = Message::StartDns { ring_bytes: DnsRing::BYTES, memory_bytes: MEMORY_BYTES, skip };
    WorkerProcess::start(program, &job, vec![ring.descriptor()?])
}

/// Handles the worker's messages. Returns why there are no more.
async fn follow(pipeline: &Mutex<FlowPipeline>, worker: &mut WorkerProcess) -> String {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            received = worker.receive() => match received {
                Ok(message) => message,
                Err(gone) => return gone.to_string(),
            },
            _ = tick.tick() => match worker.check_silence(TICK) {
                Ok(()) => continue,
                Err(silent) => return silent.to_string(),
            },
        };
        match message {
            Message::Ready => {}
            Message::DnsSeen(seen) => {
                while pipeline.lock().must_wait_for_names() {
                    sleep(NAMES_RETRY).await;
                }
                pipeline.lock().deliver_dns(&seen);
            }
            Message::DnsProgress(counts) => pipeline.lock().dns.source.set_counts(counts),
            Message::Failed(error) => return error,
            // The agent's own messages, and those of workers with another job.
            _ => return "it sent a message that is not for it to send".to_owned(),
        }
    }
}

impl FlowPipeline {
    fn deliver_dns(&mut self, seen: &[DnsSeen]) {
        let booted = clock::wall_time(0).as_nanosecond();
        let Self { enricher, dispatcher, .. } = self;
        for one in seen {
            let DnsFlow { flow, outcome } = dns_flow(one, enricher, booted);
            match outcome {
                Outcome::Seen => dispatcher.deliver(flow),
                Outcome::SeenAtClient => dispatcher.deliver_to_server(flow),
                Outcome::Unanswered => dispatcher.count_unanswered(&flow),
            }
        }
        dispatcher.flush();
    }
}
