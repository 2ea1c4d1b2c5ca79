//! What this kernel and this privilege allow, for people and for the kernel tests.

use std::io::Write;

use serde_json::json;

use crate::{
    args::HostArguments,
    kernel::{self, CgroupMode},
    plan,
};

/// Prints the facts as one JSON object; `problems` says what a layer would be refused for.
pub(super) fn run(arguments: &HostArguments) -> anyhow::Result<()> {
    let facts = kernel::probe::facts(arguments.cgroup_root.as_deref());
    let cgroup = match facts.cgroup {
        CgroupMode::V2 => "v2",
        CgroupMode::Hybrid => "hybrid",
        CgroupMode::V1 => "v1",
    };
    let said = |result: Result<(), crate::report::Problem>| match result {
        Ok(()) => json!({ "allowed": true }),
        Err(problem) => json!({ "allowed": false, "reason": problem.reason().as_str(), "message": problem.message() }),
    };
    let page = json!({
        "release": facts.release_text,
        "btf": facts.btf,
        "cgroup": { "mode": cgroup, "root": facts.cgroup_root, "node": facts.node_cgroup, "level": facts.node_cgroup_level },
        "capabilities": facts.capabilities,
        "perfEventParanoid": facts.perf_paranoid,
        "cpus": facts.cpus,
        "bootId": facts.boot_id,
        "layers": {
            "security": said(plan::tracing_allowed(&facts)),
            "network": said(plan::flows_allowed(&facts)),
            "application": said(plan::sampling_allowed(&facts)),
        },
    });
    writeln!(std::io::stdout(), "{page}")?;
    Ok(())
}
