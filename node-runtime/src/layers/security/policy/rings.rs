//! The rings of all hooks, and the tasks that read them. Signals have a ring of their own, so that a flood of posts costs no
//! signal its record.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use trilobite_node_ebpf::DropReason;

use super::{hook::SharedMaps, registry::HookRegistry};
use crate::{
    identity::{ExecKey, IdentityService},
    kernel::Ring,
    layers::security::{
        decode::{Symbols, decode_record},
        deliver::{EventDispatcher, PendingEvent},
        event::SecurityEventKind,
    },
    loss::LossPoint,
    problem::Problem,
};

/// What is needed to turn records into events.
#[derive(Clone)]
pub(super) struct RecordReader {
    pub(super) hooks: HookRegistry,
    pub(super) identity: IdentityService,
    pub(super) dispatcher: Arc<EventDispatcher>,
    pub(super) symbols: Arc<Mutex<Symbols>>,
}

pub(super) struct HookRings {
    pub(super) maps: SharedMaps,
    /// Size of the ring of posts.
    pub(super) bytes: u32,
    rings: Vec<Arc<Ring>>,
    reader: RecordReader,
    tasks: Vec<JoinHandle<()>>,
    counted_drops: AtomicU64,
}

impl HookRings {
    pub(super) fn start(bytes: u32, reader: RecordReader) -> Result<Self, Problem> {
        let maps = SharedMaps::new(bytes)?;
        let rings = [&maps.policy_ring, &maps.enforcement_ring]
            .map(|map| Ok(Arc::new(Ring::new(map.try_clone()?)?)))
            .into_iter()
            .collect::<Result<Vec<Arc<Ring>>, Problem>>()?;
        let tasks = rings.iter().map(|ring| tokio::spawn(reader.clone().read_continuously(ring.clone()))).collect();
        Ok(Self { maps, bytes, rings, reader, tasks, counted_drops: AtomicU64::new(0) })
    }

    pub(super) fn record_loss(&self, place: LossPoint, of: &str, count: u64) {
        self.reader.dispatcher.record_loss(place, of, count);
    }

    /// Calls since the last call of this function about which nothing was decided: they interrupted others too deeply, or their
    /// arguments could not be kept until they return.
    pub(super) fn new_undecided_calls(&self) -> u64 {
        let reasons = [DropReason::HookLevel, DropReason::HookArgs];
        let total = reasons.map(|reason| self.maps.drops.sum(reason as u32)).iter().sum::<u64>();
        total.saturating_sub(self.counted_drops.swap(total, Ordering::Relaxed))
    }

    /// Reads every record that is in the rings now.
    pub(super) fn drain(&self) {
        self.rings.iter().for_each(|ring| self.reader.read(|each| ring.drain_all(each)));
    }
}

impl Drop for HookRings {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl RecordReader {
    async fn read_continuously(self, ring: Arc<Ring>) {
        loop {
            if let Err(error) = ring.readable().await {
                return tracing::error!(%error, "a ring of hooks cannot be polled");
            }
            ring.wait_until_half_full(self.dispatcher.wait_for_room()).await;
            self.read(|each| ring.drain(each));
        }
    }

    /// Reads records and offers their events. The process ring is read after the hooks' ring and before the processes are
    /// looked up, so that the process of each record is known.
    fn read(&self, drain: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        let mut events = Vec::new();
        let mut unknown = 0;
        let mut symbols = self.symbols.lock();
        drain(&mut |bytes| {
            let record = decode_record(bytes);
            let info = record.as_ref().and_then(|record| self.hooks.find(record.hook_id, record.header.time));
            let (Some(record), Some(info)) = (record, info) else {
                unknown += 1;
                return;
            };
            // A record of another program's time was made by that program too.
            let Some(info) = info else { return };
            let (of_record, without_policy) = record.events(&info, &mut symbols);
            unknown += without_policy;
            events.extend(of_record.into_iter().map(|(selector, event)| (record.header, selector, event)));
        });
        drop(symbols);
        if unknown > 0 {
            tracing::warn!(records = unknown, "a ring of hooks has records of no active policy");
            self.dispatcher.record_loss(LossPoint::PolicyRing, "", unknown);
        }
        self.identity.catch_up();
        for (header, selector, event) in events {
            let caller = || (ExecKey { ktime: header.exec_ktime, pid: header.exec_pid }, header.cgroup);
            let (key, cgroup) = event.noted.map_or_else(caller, |noted| (noted.key, noted.cgroup));
            let (process, parent) = self.dispatcher.find_process(key, cgroup);
            self.dispatcher.offer(PendingEvent {
                time: header.time,
                cgroup,
                process,
                parent,
                kind: SecurityEventKind::Hook(Box::new(event)),
                consumers: selector.consumers.clone(),
            });
        }
    }
}
