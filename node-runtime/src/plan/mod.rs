//! Desired state + kernel facts -> what each layer has to keep in force. Pure, and golden-tested as text.

mod text;
mod unit;

use std::collections::BTreeMap;

use jiff::Timestamp;
use trilobite_crds::node::{
    CpuProfileSession, Desired, FlowsPart, FlowsSession, PartContent, ProcessesPart, SessionContent, Source,
    TracepointsPart,
};

use crate::{
    kernel::{CgroupMode, Facts, Release, perf},
    layers::UnitKey,
    report::Problem,
};

/// What each layer has to keep in force, and what this node refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// process_exec and process_exit.
    pub processes: BTreeMap<UnitKey, Unit<ProcessesPart>>,
    /// process_tracepoint, a unit for each policy.
    pub tracepoints: BTreeMap<UnitKey, Unit<TracepointsPart>>,
    /// Flows that the stack wants.
    pub flows: BTreeMap<UnitKey, Unit<FlowsPart>>,
    /// Flows that somebody wants for a time.
    pub captures: BTreeMap<UnitKey, Unit<FlowsSession>>,
    /// CPU profiles.
    pub cpu_profiles: BTreeMap<UnitKey, Unit<CpuProfileSession>>,
    /// Units that this kernel or privilege cannot honour.
    pub refused: BTreeMap<UnitKey, (Source, Problem)>,
}

impl Plan {
    /// Who asked for a unit.
    pub fn source(&self, key: &UnitKey) -> Option<&Source> {
        let refused = self.refused.get(key).map(|(source, _)| source);
        refused
            .or_else(|| self.processes.get(key).map(|unit| &unit.source))
            .or_else(|| self.tracepoints.get(key).map(|unit| &unit.source))
            .or_else(|| self.flows.get(key).map(|unit| &unit.source))
            .or_else(|| self.captures.get(key).map(|unit| &unit.source))
            .or_else(|| self.cpu_profiles.get(key).map(|unit| &unit.source))
    }
}

/// One unit: who asked, until when, for what.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit<T> {
    /// Who asked.
    pub source: Source,
    /// When it ends; none for a part.
    pub expires_at: Option<Timestamp>,
    /// What is wanted.
    pub content: T,
}

/// tcx came with this release; there is no second way for flows.
const TCX_SINCE: Release = Release { major: 6, minor: 6 };

/// Plans a node. Sessions whose end has come by `now` are left out.
pub fn plan(desired: &Desired, facts: &Facts, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if desired.suspended {
        return plan;
    }
    for part in &desired.parts {
        let key = UnitKey::of_part(part);
        let source = part.source.clone();
        let refusal = match &part.content {
            PartContent::Processes(_) | PartContent::Tracepoints(_) => tracing_allowed(facts),
            PartContent::Flows(_) => flows_allowed(facts),
        };
        if let Err(problem) = refusal {
            plan.refused.insert(key, (source, problem));
            continue;
        }
        match part.content.clone() {
            PartContent::Processes(content) => {
                drop(plan.processes.insert(key, Unit { source, expires_at: None, content }))
            }
            PartContent::Tracepoints(content) => {
                drop(plan.tracepoints.insert(key, Unit { source, expires_at: None, content }))
            }
            PartContent::Flows(content) => drop(plan.flows.insert(key, Unit { source, expires_at: None, content })),
        }
    }
    for session in desired.sessions.iter().filter(|session| session.expires_at > now) {
        let key = UnitKey::of_session(session);
        let source = session.source.clone();
        let expires_at = Some(session.expires_at);
        let refusal = match &session.content {
            SessionContent::CpuProfile(_) => sampling_allowed(facts),
            SessionContent::Flows(_) => flows_allowed(facts),
        };
        if let Err(problem) = refusal {
            plan.refused.insert(key, (source, problem));
            continue;
        }
        match session.content.clone() {
            SessionContent::CpuProfile(content) => {
                drop(plan.cpu_profiles.insert(key, Unit { source, expires_at, content }))
            }
            SessionContent::Flows(content) => drop(plan.captures.insert(key, Unit { source, expires_at, content })),
        }
    }
    plan
}

/// Tracing of processes and tracepoints.
pub fn tracing_allowed(facts: &Facts) -> Result<(), Problem> {
    bpf_allowed(facts)?;
    needs(facts, "CAP_PERFMON", "tracing")
}

/// Flows.
pub fn flows_allowed(facts: &Facts) -> Result<(), Problem> {
    if facts.release < TCX_SINCE {
        return Err(Problem::KernelTooOld {
            what: "flows".into(),
            needs: TCX_SINCE.to_string(),
            release: facts.release_text.clone(),
        });
    }
    bpf_allowed(facts)?;
    needs(facts, "CAP_NET_ADMIN", "flows")
}

/// CPU samples.
pub fn sampling_allowed(facts: &Facts) -> Result<(), Problem> {
    tracing_allowed(facts)?;
    if facts.perf_refused {
        return Err(perf::refusal(facts.perf_paranoid));
    }
    Ok(())
}

fn bpf_allowed(facts: &Facts) -> Result<(), Problem> {
    if facts.cgroup == CgroupMode::V1 {
        return Err(Problem::CgroupV1);
    }
    if !facts.btf {
        return Err(Problem::BtfMissing);
    }
    needs(facts, "CAP_BPF", "loading a program")
}

fn needs(facts: &Facts, capability: &str, needed_for: &str) -> Result<(), Problem> {
    if facts.has(capability) || facts.has("CAP_SYS_ADMIN") {
        return Ok(());
    }
    Err(Problem::MissingCapability { capability: capability.into(), needed_for: needed_for.into() })
}
