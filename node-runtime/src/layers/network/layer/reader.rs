//! The task that reads records, ends silent flows and follows the pods while something is watched.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::pipeline::FlowPipeline;
use crate::{
    identity::IdentityService,
    kernel::Ring,
    layers::{deadline::sleep_until_some, network::sources::tcx::REMOVE_ENDED_AFTER},
};

/// How often silent flows are looked for.
const SWEEP: Duration = Duration::from_secs(2);
/// The same while the flow map is crowded.
const CROWDED_SWEEP: Duration = Duration::from_millis(250);
/// A pod without a known veth is looked for again after this.
const RETRY: Duration = Duration::from_millis(250);
/// Records that wait for the owners of their addresses are looked at again after this.
const NAMES_RETRY: Duration = Duration::from_millis(20);
/// Changes of pods come in bursts, and are handled together after this.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How long the first records wait while DNS is read: the answer that a connection follows goes by way of the worker, and the
/// connection is to have its name.
const ANSWERS_FIRST: Duration = Duration::from_millis(3);

/// Progress of a sweep: silent flows are ended, one ring of final records at a time, and removed from the map when no packet
/// can be on its way to their counters.
enum SweepPhase {
    /// Until the next tick.
    Waiting,
    /// `remove_at` is set once a flow has been ended.
    EndingFlows {
        remove_at: Option<Instant>,
    },
    EndedFlows {
        remove_at: Instant,
    },
}

impl SweepPhase {
    fn remove_at(&self) -> Option<Instant> {
        match self {
            Self::EndedFlows { remove_at } => Some(*remove_at),
            Self::Waiting | Self::EndingFlows { .. } => None,
        }
    }
}

/// Runs until it is aborted. Without a ring of flows it only follows the pods.
pub(super) async fn read_flows(pipeline: Arc<Mutex<FlowPipeline>>, ring: Option<Arc<Ring>>, identity: IdentityService) {
    let mut changed = identity.changed();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let mut can_wait = true;
    let mut phase = SweepPhase::Waiting;
    let mut reconcile_at: Option<Instant> = None;
    loop {
        let is_waiting = {
            let pipeline = pipeline.lock();
            if pipeline.pending {
                reconcile_at.get_or_insert_with(|| Instant::now() + RETRY);
            }
            pipeline.is_waiting()
        };
        tokio::select! {
            answer = readable(ring.as_deref()), if can_wait => {
                if let Err(error) = answer {
                    tracing::error!(%error, "the ring of flows cannot be waited for; it is read with each sweep");
                    can_wait = false;
                }
                let reads_dns = pipeline.lock().dns.source.ring().is_some();
                if reads_dns {
                    sleep(ANSWERS_FIRST).await;
                }
                if pipeline.lock().drain() && swept.elapsed() >= CROWDED_SWEEP {
                    sweep.reset_immediately();
                }
            }
            _ = sweep.tick(), if matches!(phase, SweepPhase::Waiting) => {
                phase = SweepPhase::EndingFlows { remove_at: None };
                swept = Instant::now();
                if pipeline.lock().sweep() {
                    reconcile_at.get_or_insert_with(Instant::now);
                }
            }
            // Between two rings of final records, those of new flows have their turn.
            () = yield_now(), if matches!(phase, SweepPhase::EndingFlows { .. }) => phase = end_flows(&pipeline, phase),
            () = sleep_until_some(phase.remove_at()), if phase.remove_at().is_some() => {
                phase = SweepPhase::Waiting;
                pipeline.lock().remove_ended();
            }
            () = sleep(NAMES_RETRY), if is_waiting => pipeline.lock().release_named(),
            Ok(()) = changed.changed() => {
                let soon = Instant::now() + DEBOUNCE;
                reconcile_at = Some(reconcile_at.map_or(soon, |at| at.min(soon)));
            }
            () = sleep_until_some(reconcile_at), if reconcile_at.is_some() => {
                let more = pipeline.lock().reconcile();
                reconcile_at = more.then(Instant::now);
            }
        }
    }
}

async fn readable(ring: Option<&Ring>) -> std::io::Result<()> {
    match ring {
        Some(ring) => ring.readable().await,
        None => std::future::pending().await,
    }
}

fn end_flows(pipeline: &Mutex<FlowPipeline>, phase: SweepPhase) -> SweepPhase {
    let SweepPhase::EndingFlows { mut remove_at } = phase else { return phase };
    let ended = pipeline.lock().end_idle();
    if ended.flows > 0 {
        remove_at = Some(Instant::now() + REMOVE_ENDED_AFTER);
    }
    match remove_at {
        remove_at if ended.more => SweepPhase::EndingFlows { remove_at },
        Some(remove_at) => SweepPhase::EndedFlows { remove_at },
        None => SweepPhase::Waiting,
    }
}
