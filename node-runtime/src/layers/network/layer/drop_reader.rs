//! The task that reads dropped packets: first ones at once, counts of those that follow once a second while there are any.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::pipeline::FlowPipeline;
use crate::{
    kernel::Ring,
    layers::{
        deadline::sleep_until_some,
        network::sources::drops::{DropSource, READ_OUT_AFTER, REPORT_EVERY},
    },
};

/// Progress of a report: the kernel changes over to its other map, and the first is read when no packet can be on its way to it.
enum ReportPhase {
    /// Nothing is counted.
    Waiting,
    Counting {
        until: Instant,
    },
    ChangedOver {
        read_at: Instant,
    },
}

impl ReportPhase {
    fn ends_at(&self) -> Option<Instant> {
        match self {
            Self::Waiting => None,
            Self::Counting { until: at } | Self::ChangedOver { read_at: at } => Some(*at),
        }
    }
}

/// Runs until it is aborted.
pub(super) async fn read_drops(pipeline: Arc<Mutex<FlowPipeline>>, ring: Arc<Ring>) {
    let mut can_wait = true;
    let mut phase = ReportPhase::Waiting;
    loop {
        if matches!(phase, ReportPhase::Waiting) && pipeline.lock().with_drops(|drops, _| drops.is_counting()) {
            phase = ReportPhase::Counting { until: Instant::now() + REPORT_EVERY };
        }
        let unknown = pipeline.lock().with_drops(|drops, _| drops.unknown_places());
        if let Some(lookup) = unknown {
            match spawn_blocking(|| lookup.read()).await {
                Ok(found) => pipeline.lock().with_drops(|drops, sink| drops.learn(found, sink)),
                Err(error) => {
                    tracing::error!(%error, "the kernel's symbols were not read; dropped packets wait for their places");
                    sleep(REPORT_EVERY).await;
                }
            }
        }
        tokio::select! {
            answer = ring.readable(), if can_wait => {
                if let Err(error) = answer {
                    tracing::error!(%error, "the ring of dropped packets cannot be waited for; it is read every second");
                    can_wait = false;
                }
                pipeline.lock().with_drops(DropSource::drain);
            }
            () = sleep(REPORT_EVERY), if !can_wait => pipeline.lock().with_drops(DropSource::drain),
            () = sleep_until_some(phase.ends_at()), if phase.ends_at().is_some() => {
                phase = if matches!(phase, ReportPhase::Counting { .. }) {
                    pipeline.lock().with_drops(|drops, _| drops.change_over());
                    ReportPhase::ChangedOver { read_at: Instant::now() + READ_OUT_AFTER }
                } else {
                    pipeline.lock().with_drops(DropSource::read_out);
                    ReportPhase::Waiting
                };
            }
        }
    }
}
