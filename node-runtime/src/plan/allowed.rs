//! Whether this kernel and this privilege allow a layer, without asking the kernel.

use crate::{
    kernel::{CgroupMode, Facts, Release, perf_paranoid},
    problem::Problem,
};

/// Flows need a ring buffer (5.8) and filters of clsact, and are tested from here on.
const FLOWS_SINCE: Release = Release { major: 5, minor: 10 };

/// Processes and tracepoints.
pub fn tracing_allowed(facts: &Facts) -> Result<(), Problem> {
    bpf_allowed(facts)?;
    require(facts, "CAP_PERFMON", "tracing")
}

pub fn flows_allowed(facts: &Facts) -> Result<(), Problem> {
    if facts.release < FLOWS_SINCE {
        return Err(Problem::KernelTooOld {
            what: "flows".into(),
            needs: FLOWS_SINCE.to_string(),
            release: facts.release_text.clone(),
        });
    }
    bpf_allowed(facts)?;
    require(facts, "CAP_NET_ADMIN", "flows")
}

/// Flows or, on a kernel that cannot count forwarded packets, dropped packets alone.
pub(super) fn network_allowed(facts: &Facts) -> Result<(), Problem> {
    match flows_allowed(facts) {
        Err(Problem::KernelTooOld { .. }) => tracing_allowed(facts),
        answer => answer,
    }
}

/// CPU samples.
pub fn sampling_allowed(facts: &Facts) -> Result<(), Problem> {
    tracing_allowed(facts)?;
    if facts.perf_refused {
        return Err(perf_paranoid::refusal(facts.perf_paranoid));
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
    require(facts, "CAP_BPF", "loading a program")
}

fn require(facts: &Facts, capability: &str, needed_for: &str) -> Result<(), Problem> {
    if facts.has(capability) || facts.has("CAP_SYS_ADMIN") {
        return Ok(());
    }
    Err(Problem::MissingCapability { capability: capability.into(), needed_for: needed_for.into() })
}
