//! Delivers events to the event bus: at once where their pod is known, else after they have waited for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    enrich::{OwnerLookup, find_process},
    event::SecurityEventKind,
    event_bus::EventBus,
};
use crate::{
    identity::{
        ExecKey, IdentityService, Process, ProcessChange,
        pending::{Disposition, PendingEvents, PendingLimits},
    },
    kernel::clock,
    loss::{Ledger, LossPoint},
};

pub use super::enrich::{EventConsumer, PendingEvent};

const PENDING_LIMITS: PendingLimits = PendingLimits { total: 8192, per_cgroup: 2048 };
/// How often pending events are reviewed when identity does not change.
const REVIEW_INTERVAL: Duration = Duration::from_millis(250);
/// Pending events that one review delivers: a part of a reader's queue.
const DELIVERED_PER_REVIEW: usize = 1024;
/// How often readers see losses that occurred before the bus: as often as the kernel's counters are read.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// The only publisher of events to the bus.
pub struct EventDispatcher {
    identity: IdentityService,
    bus: EventBus,
    ledger: Ledger,
    state: Mutex<State>,
    /// An event became pending.
    wake: Notify,
}

struct State {
    /// Consumers of exec and exit.
    process_consumers: Arc<[Arc<EventConsumer>]>,
    pending: PendingEvents<PendingEvent>,
    /// Losses that readers have seen, or that are older than they are.
    published_losses: BTreeMap<LossPoint, u64>,
}

impl EventDispatcher {
    pub fn new(identity: IdentityService, bus: EventBus, ledger: Ledger) -> Self {
        let state = State {
            process_consumers: Arc::default(),
            pending: PendingEvents::new(PENDING_LIMITS),
            published_losses: BTreeMap::new(),
        };
        Self { identity, bus, ledger, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Replaces the consumers of exec and exit.
    pub fn set_process_consumers(&self, consumers: Vec<Arc<EventConsumer>>) {
        self.state().process_consumers = consumers.into();
    }

    /// The listener for changes of processes.
    pub fn on_process_change(&self, change: &ProcessChange) {
        let (process, parent, time, cgroup, kind) = match change {
            ProcessChange::Fork(_) => return,
            ProcessChange::Exec { process, parent } => {
                (process, parent, process.started_ns, process.cgroup, SecurityEventKind::Exec)
            }
            ProcessChange::Exit { process, parent, exit } => {
                let kind = SecurityEventKind::Exit { status: exit.code >> 8 & 0xff, signal: exit.code & 0x7f };
                (process, parent, exit.time, exit.cgroup, kind)
            }
        };
        let consumers = self.state().process_consumers.clone();
        if consumers.is_empty() {
            return;
        }
        let (process, parent) = (process.clone(), parent.clone());
        self.offer(PendingEvent { time, cgroup, process, parent, kind, consumers });
    }

    /// The process of a key, which may be unknown, and its parent.
    pub fn find_process(&self, key: ExecKey, cgroup: u64) -> (Arc<Process>, Option<Arc<Process>>) {
        find_process(&self.identity, key, cgroup)
    }

    /// Delivers, drops or queues an event that has just arrived. Events of one cgroup stay in their order.
    pub fn offer(&self, event: PendingEvent) {
        self.offer_at(event, clock::boot_ns);
    }

    fn offer_at(&self, mut event: PendingEvent, now: impl FnOnce() -> u64) {
        let mut state = self.state();
        if !state.pending.has(event.cgroup) {
            let lookup = OwnerLookup::new(&self.identity, &event);
            match lookup.decide(&self.identity, &mut event, 0) {
                Disposition::Deliver => return self.publish(event, &lookup),
                Disposition::Drop => return,
                Disposition::Wait | Disposition::Expire => {}
            }
        }
        if let Some(evicted) = state.pending.push(event.cgroup, now(), event) {
            let lookup = OwnerLookup::new(&self.identity, &evicted);
            if lookup.is_selected() {
                // It waited only for a name.
                self.publish(evicted, &lookup);
            } else {
                self.count_unknown(&evicted, &lookup);
            }
        }
        self.wake.notify_one();
    }

    /// Decides about pending events again, at `now` on the boot clock. False while there may be more to deliver at once.
    pub fn review(&self, now: u64) -> bool {
        let mut state = self.state();
        if state.pending.is_empty() {
            return true;
        }
        // Each cgroup is looked up once for each list of consumers.
        let mut lookups: HashMap<(u64, usize), OwnerLookup> = HashMap::new();
        let reviewed = state.pending.review(now, DELIVERED_PER_REVIEW, |cgroup, event, age| {
            let key = (cgroup, event.consumers_id());
            let lookup = lookups.entry(key).or_insert_with(|| OwnerLookup::new(&self.identity, event));
            lookup.decide(&self.identity, event, age)
        });
        let done = reviewed.delivered.len() < DELIVERED_PER_REVIEW;
        for event in reviewed.expired {
            if let Some(lookup) = lookups.get(&(event.cgroup, event.consumers_id())) {
                self.count_unknown(&event, lookup);
            }
        }
        for event in reviewed.delivered {
            if let Some(lookup) = lookups.get(&(event.cgroup, event.consumers_id())) {
                self.publish(event, lookup);
            }
        }
        done
    }

    /// Publishes how many events were lost, in the kernel or for want of a known pod, since the last call. Records of forks
    /// and cgroups are no events.
    pub fn publish_losses(&self) {
        let mut now = BTreeMap::<LossPoint, u64>::new();
        for loss in self.ledger.by_kind() {
            let is_event = match loss.place {
                LossPoint::IdentityRing => matches!(loss.kind, "exec" | "exit"),
                place => matches!(place, LossPoint::PolicyRing | LossPoint::Undecided),
            };
            if is_event {
                *now.entry(loss.place).or_default() += loss.count;
            }
        }
        let before = std::mem::replace(&mut self.state().published_losses, now.clone());
        for (place, count) in now {
            let new = count - before.get(&place).copied().unwrap_or_default();
            if new > 0 {
                self.bus.publish_loss(place, new);
            }
        }
    }

    /// Settles every pending event after the last review: events that wait for a name are delivered without it, the others
    /// are lost.
    pub fn flush(&self) {
        while !self.review(u64::MAX) {}
        self.publish_losses();
    }

    /// Records a loss that occurred before the bus.
    pub fn record_loss(&self, place: LossPoint, of: &str, count: u64) {
        self.ledger.record_loss(place, of, count);
    }

    /// Waits for slow readers, a moment at most.
    pub async fn wait_for_room(&self) {
        self.bus.wait_for_room().await;
    }

    /// Number of pending events.
    pub fn pending(&self) -> usize {
        self.state().pending.len()
    }

    /// Reviews pending events whenever identity changes, and at intervals while there are any; publishes losses.
    pub async fn review_continuously(self: Arc<Self>) {
        let mut changed = self.identity.changed();
        let mut losses = tokio::time::interval(LOSS_INTERVAL);
        loop {
            let waits = self.pending() > 0;
            tokio::select! {
                _ = losses.tick() => {
                    self.publish_losses();
                    continue;
                }
                changed = changed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(REVIEW_INTERVAL), if waits => {}
                // An event that has just become pending is reviewed after the interval.
                () = self.wake.notified(), if !waits => continue,
            }
            while !self.review(clock::boot_ns()) {
                // Readers run on this thread and have a bounded queue.
                self.wait_for_room().await;
            }
        }
    }

    /// Counts a loss for each consumer whose answer is not no.
    fn count_unknown(&self, event: &PendingEvent, lookup: &OwnerLookup) {
        for (consumer, selected) in event.consumers.iter().zip(&lookup.selected) {
            if *selected != Some(false) {
                self.ledger.record_loss(LossPoint::Undecided, &consumer.name, 1);
            }
        }
    }

    fn publish(&self, event: PendingEvent, lookup: &OwnerLookup) {
        let is_unenforced = matches!(&event.kind, SecurityEventKind::Hook(hook) if hook.is_unenforced());
        for (consumer, selected) in event.consumers.iter().zip(&lookup.selected) {
            if *selected == Some(true) {
                consumer.records.fetch_add(1, Ordering::Relaxed);
                self.ledger.record_loss(LossPoint::Unenforced, &consumer.name, u64::from(is_unenforced));
            }
        }
        self.bus.count(event.kind.event_type());
        if self.bus.has_readers() {
            let with_ancestors = self.bus.wants_ancestors();
            self.bus.publish(Arc::new(lookup.enrich(&self.identity, event, with_ancestors)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::PodScope;
    use trilobite_node_ebpf::{ExecRecord, ExitRecord, RECORD_LAYOUT, Record, RecordKind};
    use zerocopy::IntoBytes;

    use super::{
        super::{
            UNKNOWN,
            enrich::{POD_TIMEOUT, PROCESS_TIMEOUT},
            event::{HookEvent, HookPoint, SelectorInfo},
            event_bus::{StreamItem, Subscription},
        },
        *,
    };
    use crate::kernel::Facts;

    fn dispatcher(cluster: bool) -> (Arc<EventDispatcher>, Ledger, Subscription) {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let reader = bus.subscribe();
        let identity = IdentityService::new(Arc::new(Facts::default()), ledger.clone(), cluster);
        (Arc::new(EventDispatcher::new(identity, bus, ledger.clone())), ledger, reader)
    }

    fn event_of_unknown_process(dispatcher: &EventDispatcher, cgroup: u64) -> PendingEvent {
        let (process, parent) = dispatcher.find_process(ExecKey { ktime: 5, pid: 6 }, cgroup);
        let consumer = Arc::new(EventConsumer::new("policy".into(), Arc::default()));
        PendingEvent { time: 0, cgroup, process, parent, kind: SecurityEventKind::Exec, consumers: [consumer].into() }
    }

    fn offer(dispatcher: &EventDispatcher, cgroup: u64, now: u64) {
        dispatcher.offer_at(event_of_unknown_process(dispatcher, cgroup), || now);
    }

    #[test]
    fn event_of_an_unknown_cgroup_is_lost_after_the_timeout() {
        let (dispatcher, ledger, mut reader) = dispatcher(true);
        let arrival = 100 * POD_TIMEOUT;
        offer(&dispatcher, 77, arrival);
        dispatcher.review(arrival + POD_TIMEOUT - 1);
        assert_eq!((dispatcher.pending(), ledger.total_at(LossPoint::Undecided)), (1, 0));
        dispatcher.review(arrival + POD_TIMEOUT);
        assert_eq!((dispatcher.pending(), ledger.total_at(LossPoint::Undecided)), (0, 1));
        assert!(reader.try_next().is_none());
    }

    #[test]
    fn signal_that_an_unknown_pod_did_not_get_is_counted() {
        let hook = |is_undecided, signals| {
            let selector = Arc::new(SelectorInfo { signals, ..SelectorInfo::default() });
            let point = Arc::new(HookPoint::Function { name: "fd_install".into() });
            SecurityEventKind::Hook(Box::new(HookEvent { is_undecided, ..HookEvent::of(point, selector) }))
        };
        for (is_undecided, signals, count) in [(true, true, 1), (true, false, 0), (false, true, 0)] {
            let (dispatcher, ledger, _reader) = dispatcher(false);
            let event = event_of_unknown_process(&dispatcher, 77);
            dispatcher.offer(PendingEvent { kind: hook(is_undecided, signals), ..event });
            dispatcher.flush();
            assert_eq!(ledger.total_at(LossPoint::Unenforced), count, "{is_undecided} {signals}");
        }
    }

    #[test]
    fn event_of_another_workload_than_its_selectors_is_dropped() {
        let labels = serde_json::json!({"podSelector": {"matchLabels": {"app": "till"}}});
        let other =
            Arc::new(PodScope { workload: Some(serde_json::from_value(labels).unwrap()), ..PodScope::default() });
        for (scope, delivered) in [(None, true), (Some(Arc::default()), true), (Some(other), false)] {
            let (dispatcher, _, mut reader) = dispatcher(false);
            let selector = Arc::new(SelectorInfo { scope, ..SelectorInfo::default() });
            let hook = HookEvent::of(Arc::new(HookPoint::Function { name: "fd_install".into() }), selector);
            let event = event_of_unknown_process(&dispatcher, 77);
            dispatcher.offer(PendingEvent { kind: SecurityEventKind::Hook(Box::new(hook)), ..event });
            dispatcher.flush();
            assert_eq!(reader.try_next().is_some(), delivered);
        }
    }

    #[test]
    fn flush_delivers_events_that_wait_for_their_process() {
        let (dispatcher, ledger, mut reader) = dispatcher(false);
        offer(&dispatcher, 77, 1);
        assert!(reader.try_next().is_none());
        dispatcher.flush();
        assert!(matches!(reader.try_next(), Some(StreamItem::Event(_))));
        assert_eq!(ledger.losses(), []);
    }

    fn header(kind: RecordKind, size: usize, key: ExecKey) -> Record {
        Record {
            layout: RECORD_LAYOUT,
            kind: kind as u16,
            size: size as u32,
            exec_ktime: key.ktime,
            exec_pid: key.pid,
            ..Record::default()
        }
    }

    fn exec_record(key: ExecKey, parent: ExecKey) -> Vec<u8> {
        let header = header(RecordKind::Exec, size_of::<ExecRecord>(), key);
        let (parent_ktime, parent_pid) = (parent.ktime, parent.pid);
        ExecRecord { header, parent_ktime, parent_pid, ..ExecRecord::default() }.as_bytes().to_vec()
    }

    fn exit_record(key: ExecKey, parent: ExecKey) -> Vec<u8> {
        let header = header(RecordKind::Exit, size_of::<ExitRecord>(), key);
        let (parent_ktime, parent_pid) = (parent.ktime, parent.pid);
        ExitRecord { header, parent_ktime, parent_pid, ..ExitRecord::default() }.as_bytes().to_vec()
    }

    #[test]
    fn parent_is_the_one_of_the_record_however_many_follow() {
        let (dispatcher, _, mut reader) = dispatcher(false);
        let consumer = EventConsumer::new("stack".into(), Arc::default());
        dispatcher.set_process_consumers(vec![Arc::new(consumer)]);
        let key = |pid| ExecKey { ktime: 1000 + u64::from(pid), pid };
        let (shell, child) = (key(1), key(2));
        let mut records = vec![
            exec_record(shell, ExecKey::default()),
            exec_record(child, shell),
            exit_record(child, shell),
            exit_record(shell, ExecKey::default()),
        ];
        // Read together with so many that both have left the cache when the events are made.
        for pid in 3..4000 {
            records.extend([exec_record(key(pid), ExecKey::default()), exit_record(key(pid), ExecKey::default())]);
        }
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        for change in dispatcher.identity.apply_process_records(&records) {
            dispatcher.on_process_change(&change);
        }
        assert_eq!(dispatcher.identity.process(shell), None);
        let parents = [(); 3].map(|()| match reader.try_next() {
            Some(StreamItem::Event(event)) => event.parent.as_ref().map(|parent| parent.process.key),
            other => panic!("{other:?}"),
        });
        assert_eq!(parents, [None, Some(shell), Some(shell)]);
    }

    #[test]
    fn burst_that_waits_only_for_names_loses_nothing() {
        let (dispatcher, ledger, mut reader) = dispatcher(false);
        let count = 2 * PENDING_LIMITS.per_cgroup - 100;
        for _ in 0..count {
            offer(&dispatcher, 77, 1);
        }
        dispatcher.flush();
        let mut delivered = 0;
        while let Some(StreamItem::Event(_)) = reader.try_next() {
            delivered += 1;
        }
        assert_eq!((delivered, ledger.losses()), (count, Vec::new()));
    }

    #[tokio::test]
    async fn pending_event_wakes_the_review_task() {
        let (dispatcher, _, mut reader) = dispatcher(false);
        let reviewing = tokio::spawn(dispatcher.clone().review_continuously());
        tokio::task::yield_now().await;
        dispatcher.offer(event_of_unknown_process(&dispatcher, 77));
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.unwrap();
        assert!(matches!(next, StreamItem::Event(event) if event.process.process.flags == UNKNOWN));
        reviewing.abort();
    }

    #[tokio::test]
    async fn losses_of_the_kernel_are_published_once() {
        let (dispatcher, ledger, mut reader) = dispatcher(false);
        ledger.record_loss_of_kind(LossPoint::IdentityRing, "", "exec", 2);
        ledger.record_loss_of_kind(LossPoint::IdentityRing, "", "fork", 100);
        ledger.record_loss(LossPoint::PolicyRing, "policy", 3);
        let reviewing = tokio::spawn(dispatcher.clone().review_continuously());
        let published = [reader.next().await, reader.next().await];
        let expected = [StreamItem::Lost(LossPoint::IdentityRing, 2), StreamItem::Lost(LossPoint::PolicyRing, 3)];
        assert_eq!(published, expected);
        ledger.record_loss_of_kind(LossPoint::IdentityRing, "", "exit", 4);
        dispatcher.publish_losses();
        let published = (reader.try_next(), reader.try_next());
        assert_eq!(published, (Some(StreamItem::Lost(LossPoint::IdentityRing, 4)), None));
        reviewing.abort();
    }

    #[tokio::test]
    async fn fast_reader_loses_none_of_the_pending_events() {
        let (dispatcher, ledger, mut reader) = dispatcher(false);
        let (cgroups, each) = (4, PENDING_LIMITS.per_cgroup);
        let arrival = clock::boot_ns() - PROCESS_TIMEOUT;
        for number in 0..cgroups * each {
            offer(&dispatcher, number as u64 % 4, arrival);
        }
        assert_eq!(dispatcher.pending(), cgroups * each);
        let reviewing = tokio::spawn(dispatcher.clone().review_continuously());
        for _ in 0..cgroups * each {
            assert!(matches!(reader.next().await, StreamItem::Event(_)));
            // As a client in another process does.
            tokio::task::yield_now().await;
        }
        assert_eq!(ledger.losses(), []);
        reviewing.abort();
    }
}
