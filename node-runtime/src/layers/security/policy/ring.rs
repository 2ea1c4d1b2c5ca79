//! A ring that policies share, and the task that reads it.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::unit::{PolicyInfo, UndecodableRecord};
use crate::{
    identity::{ExecKey, IdentityService},
    kernel::{Map, Ring},
    layers::security::{
        decode::decode_header,
        deliver::{EventDispatcher, PendingEvent},
    },
    loss::LossPoint,
};

/// Policies by the number that their records carry.
pub(super) type PolicyRegistry = Arc<Mutex<HashMap<u32, Arc<PolicyInfo>>>>;

/// What is needed to turn records into events.
#[derive(Clone)]
pub(super) struct RecordReader {
    pub(super) policies: PolicyRegistry,
    pub(super) identity: IdentityService,
    pub(super) dispatcher: Arc<EventDispatcher>,
}

pub(super) struct PolicyRing {
    pub(super) map: Map,
    ring: Arc<Ring>,
    reader: RecordReader,
    task: JoinHandle<()>,
}

impl PolicyRing {
    pub(super) fn start(map: Map, ring: Ring, reader: RecordReader) -> Self {
        let ring = Arc::new(ring);
        let task = tokio::spawn(reader.clone().read_continuously(ring.clone()));
        Self { map, ring, reader, task }
    }

    /// Reads every record that is in the ring now.
    pub(super) fn drain(&self) {
        self.reader.read(|each| self.ring.drain_all(each));
    }
}

impl Drop for PolicyRing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RecordReader {
    async fn read_continuously(self, ring: Arc<Ring>) {
        loop {
            if let Err(error) = ring.readable().await {
                return tracing::error!(%error, "the ring of policies cannot be polled");
            }
            ring.wait_until_half_full(self.dispatcher.wait_for_room()).await;
            self.read(|each| ring.drain(each));
        }
    }

    /// Reads records and offers their events. The process ring is read after the policies' ring and before the processes are
    /// looked up, so that the process of each record is known.
    fn read(&self, drain: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        let mut events = Vec::new();
        let mut unknown = 0;
        let mut undecodable = Vec::new();
        drain(&mut |bytes| {
            let header = decode_header(bytes);
            let info = header.as_ref().and_then(|(header, _)| self.policies.lock().get(&header.source).cloned());
            let (Some((header, hook)), Some(info)) = (header, info) else {
                unknown += 1;
                return;
            };
            match info.event(&header, hook, bytes) {
                Ok(kind) => events.extend(kind.map(|kind| (header, kind, info.consumers.clone()))),
                Err(UndecodableRecord) => undecodable.extend(info.consumers.iter().cloned()),
            }
        });
        for consumer in undecodable {
            tracing::warn!(policy = consumer.name, "a record of this policy could not be decoded");
            self.dispatcher.record_loss(LossPoint::PolicyRing, &consumer.name, 1);
        }
        if unknown > 0 {
            tracing::warn!(records = unknown, "the ring of policies holds records of no active policy");
            self.dispatcher.record_loss(LossPoint::PolicyRing, "", unknown);
        }
        self.identity.catch_up();
        for (header, kind, consumers) in events {
            let key = ExecKey { ktime: header.exec_ktime, pid: header.exec_pid };
            let (process, parent) = self.dispatcher.find_process(key, header.cgroup);
            self.dispatcher.offer(PendingEvent {
                time: header.time,
                cgroup: header.cgroup,
                process,
                parent,
                kind,
                consumers,
            });
        }
    }
}
