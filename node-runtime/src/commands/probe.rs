//! `trilobite-node probe`: what this kernel and this privilege allow, for people and for the kernel tests. Nothing is attached.

use std::io::Write;

use serde_json::{Value, json};
use trilobite_node_ebpf::{HOOK_DIMENSIONS_MAX, HOOK_VALUES_MAX, HookLayout, feature_flag};

use crate::{
    args::ProbeArguments,
    identity::create_cgroup_map,
    kernel::{self, CgroupMode, Facts, Opened, Release},
    layers::application::requests::programs::{has_nonblock, uses_tracepoints},
    plan,
    problem::Problem,
};

/// Prints the facts, and whether each layer is allowed, as one JSON object.
pub(super) fn print_facts(arguments: &ProbeArguments) -> anyhow::Result<()> {
    let facts = kernel::probe::facts(arguments.host.cgroup_root.as_deref());
    let cgroup = match facts.cgroup {
        CgroupMode::V2 => "v2",
        CgroupMode::Hybrid => "hybrid",
        CgroupMode::V1 => "v1",
    };
    let verdict = |result: Result<(), Problem>| match result {
        Ok(()) => json!({ "allowed": true }),
        Err(problem) => json!({ "allowed": false, "reason": problem.reason().as_str(), "message": problem.message() }),
    };
    let mut page = json!({
        "release": facts.release_text,
        "btf": facts.btf,
        "cgroup": { "mode": cgroup, "root": facts.cgroup_root, "node": facts.node_cgroup, "level": facts.node_cgroup_level },
        "capabilities": facts.capabilities,
        "perfEventParanoid": facts.perf_paranoid,
        "cpus": facts.cpus,
        "bootId": facts.boot_id,
        "layers": {
            "security": verdict(plan::tracing_allowed(&facts)),
            "network": verdict(plan::flows_allowed(&facts)),
            "application": verdict(plan::sampling_allowed(&facts)),
            "tls": verdict(facts.uprobes.problem(facts.release).map_or(Ok(()), Err)),
        },
    });
    if arguments.load {
        page["programs"] = programs(&facts)?.into();
    }
    writeln!(std::io::stdout(), "{page}")?;
    Ok(())
}

/// Loads each program by itself, so that a refused one hides no other. What `plan` refuses is reported without asking the kernel.
fn programs(facts: &Facts) -> anyhow::Result<Vec<Value>> {
    let mut results = Vec::new();
    for (object, bytes) in trilobite_node_ebpf::all() {
        if !is_used(object, facts.release) {
            continue;
        }
        let allowed = if object == "flow" { plan::flows_allowed(facts) } else { plan::tracing_allowed(facts) };
        for program in open(object, bytes)?.programs() {
            let loaded = allowed.clone().and_then(|()| {
                let mut opened = Opened::open(object, bytes)?;
                opened.only(&[&program]);
                let cgroups = if opened.has_map("cgroups") { Some(create_cgroup_map(facts)?) } else { None };
                if let Some(map) = &cgroups {
                    opened.reuse("cgroups", map.fd())?;
                }
                if object.starts_with("hook") {
                    prepare_hook(&mut opened, &program)?;
                }
                if object == "socket_fexit" {
                    opened.set("has_nonblock", has_nonblock(facts.release))?;
                }
                Ok(opened.load()?.verified_steps(&program))
            });
            results.push(match loaded {
                Ok(steps) => json!({ "object": object, "program": program, "loaded": true, "steps": steps }),
                Err(problem) => json!({
                    "object": object, "program": program, "loaded": false,
                    "reason": problem.reason().as_str(), "message": problem.message(),
                }),
            });
        }
    }
    Ok(results)
}

/// Of the two objects that follow sockets, a kernel uses one.
fn is_used(object: &str, release: Release) -> bool {
    match object {
        "socket" => uses_tracepoints(release),
        "socket_fexit" => !uses_tracepoints(release),
        _ => true,
    }
}

/// A hook with all its parts: the most that the verifier ever has to check.
fn prepare_hook(opened: &mut Opened, program: &str) -> Result<(), Problem> {
    let target = match program {
        "on_tracing" => Some("sys_enter"),
        "on_function_entry" | "on_kept_function_entry" | "on_function_return" => Some("security_file_open"),
        _ => None,
    };
    if let Some(target) = target {
        opened.target(program, target)?;
    }
    let layout = HookLayout {
        features: !feature_flag::SYSCALL_32,
        value_count: HOOK_VALUES_MAX as u8,
        dimension_count: HOOK_DIMENSIONS_MAX as u8,
        entry_dimension_count: HOOK_DIMENSIONS_MAX as u8 / 2,
        // Of security_file_open; a program reads no argument that its target does not have.
        arg_count: 1,
        ..HookLayout::default()
    };
    opened.set("layout", layout)
}

fn open(object: &'static str, bytes: &'static [u8]) -> anyhow::Result<Opened> {
    Opened::open(object, bytes).map_err(|problem| anyhow::anyhow!(problem.message()))
}
