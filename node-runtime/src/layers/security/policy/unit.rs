//! One loaded policy, and what its events show of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use trilobite_crds::node::{TracepointHook, TracepointsPart};
use trilobite_node_ebpf::Record;

use crate::{
    identity::SelectorLease,
    layers::security::{
        args::ArgReader,
        decode::decode_values,
        deliver::EventConsumer,
        event::SecurityEventKind,
        programs::{AttachedHook, LoadedHook},
    },
    plan::Unit,
    problem::Problem,
};

/// A policy whose hooks are attached.
pub(super) struct LoadedPolicy {
    /// The number that its records carry.
    pub(super) source: u32,
    pub(super) ring_bytes: u32,
    pub(super) hooks: Vec<AttachedHook>,
    pub(super) consumer: Arc<EventConsumer>,
    pub(super) _selector: SelectorLease,
}

impl LoadedPolicy {
    /// Losses of all hooks since the last call.
    pub(super) fn new_losses(&self) -> u64 {
        self.hooks.iter().map(AttachedHook::new_losses).sum()
    }
}

/// Attaches every hook. On an error it returns those that were attached before.
pub(super) fn attach_hooks(
    loaded: Vec<LoadedHook>,
    hooks: &[TracepointHook],
) -> Result<Vec<AttachedHook>, (Vec<AttachedHook>, Problem)> {
    let mut attached = Vec::new();
    for (loaded, hook) in loaded.into_iter().zip(hooks) {
        match loaded.attach(hook) {
            Ok(hook) => attached.push(hook),
            Err(problem) => return Err((attached, problem)),
        }
    }
    Ok(attached)
}

/// The part of a policy that its events show.
pub(super) struct PolicyInfo {
    policy: Arc<str>,
    namespace: Arc<str>,
    hooks: Vec<HookInfo>,
    pub(super) consumers: Arc<[Arc<EventConsumer>]>,
    /// Boot clock. Older records belong to the previous version, or come from a policy that is only partly attached.
    active_from: AtomicU64,
    /// Boot clock. Newer records belong to the next version.
    active_until: AtomicU64,
}

/// A record that names a hook which its policy does not have, or is too short for the hook's arguments.
#[derive(Debug)]
pub(super) struct UndecodableRecord;

struct HookInfo {
    subsystem: Arc<str>,
    event: Arc<str>,
    message: Arc<str>,
    tags: Arc<[String]>,
    labels: Vec<Option<Arc<str>>>,
    readers: Vec<ArgReader>,
}

impl PolicyInfo {
    /// Of a policy that is not active yet.
    pub(super) fn new(
        unit: &Unit<TracepointsPart>,
        readers: Vec<Vec<ArgReader>>,
        consumer: &Arc<EventConsumer>,
    ) -> Self {
        let hooks = unit.content.hooks.iter().zip(readers).map(|(hook, readers)| HookInfo {
            subsystem: hook.subsystem.as_str().into(),
            event: hook.event.as_str().into(),
            message: hook.message.as_deref().unwrap_or_default().into(),
            tags: hook.tags.clone().into(),
            labels: hook.args.iter().map(|arg| arg.label.as_deref().map(Into::into)).collect(),
            readers,
        });
        Self {
            policy: unit.source.name.as_str().into(),
            namespace: unit.source.namespace.as_deref().unwrap_or_default().into(),
            hooks: hooks.collect(),
            consumers: [consumer.clone()].into(),
            active_from: AtomicU64::new(u64::MAX),
            active_until: AtomicU64::new(u64::MAX),
        }
    }

    /// Records from `now` on, on the boot clock, belong to this version.
    pub(super) fn activate(&self, now: u64) {
        self.active_from.store(now, Ordering::Relaxed);
    }

    /// Records from `now` on, on the boot clock, belong to the next version.
    pub(super) fn deactivate(&self, now: u64) {
        self.active_until.store(now, Ordering::Relaxed);
    }

    /// The event of a record; none for a record of another version.
    pub(super) fn event(
        &self,
        header: &Record,
        hook: u32,
        bytes: &[u8],
    ) -> Result<Option<SecurityEventKind>, UndecodableRecord> {
        let active = self.active_from.load(Ordering::Relaxed)..self.active_until.load(Ordering::Relaxed);
        if !active.contains(&header.time) {
            return Ok(None);
        }
        let hook = self.hooks.get(hook as usize).ok_or(UndecodableRecord)?;
        let values = decode_values(bytes, &hook.readers).ok_or(UndecodableRecord)?;
        Ok(Some(SecurityEventKind::Tracepoint {
            tid: header.tid,
            policy: self.policy.clone(),
            policy_namespace: self.namespace.clone(),
            subsystem: hook.subsystem.clone(),
            event: hook.event.clone(),
            message: hook.message.clone(),
            tags: hook.tags.clone(),
            args: values.into_iter().zip(hook.labels.iter().cloned()).collect(),
        }))
    }
}
