//! Which ways to attach to functions this kernel accepts: tried once, with a program that no class has selectors for.

use trilobite_node_ebpf::HookLayout;

use crate::{
    kernel::{
        Opened,
        attach::{self, FunctionEnd},
    },
    plan::policy::machine::{AvoidedWays, ProbedWays},
    problem::Problem,
};

/// In every kernel that is supported, and seldom called.
const FUNCTION: &str = "security_inode_symlink";

/// A list of ways to attach that are avoided although the kernel accepts them, for tests.
const AVOID: &str = "TRILOBITE_AVOID_ATTACHING_BY";

/// The ways that the environment asks to avoid.
pub(in crate::layers::security) fn avoided_ways() -> AvoidedWays {
    let Ok(text) = std::env::var(AVOID) else { return AvoidedWays::default() };
    AvoidedWays::parse(&text).unwrap_or_else(|| {
        tracing::warn!("{AVOID} has a word that is no way to attach: {text}; it is ignored");
        AvoidedWays::default()
    })
}

/// Attaches for a moment by each way.
pub(in crate::layers::security) fn probe_ways() -> ProbedWays {
    let accepts = |way: &str, tried: Result<(), Problem>| match tried {
        Ok(()) => true,
        Err(problem) => {
            tracing::info!(way, "functions are not attached to in this way: {}", problem.message());
            false
        }
    };
    ProbedWays {
        fentry: accepts("fentry", try_fentry()),
        kprobe_multi: accepts("kprobe.multi", try_kprobe_multi()),
        avoided: avoided_ways(),
    }
}

fn try_fentry() -> Result<(), Problem> {
    const PROGRAM: &str = "on_function_entry";
    let mut opened = opened(PROGRAM)?;
    opened.target(PROGRAM, FUNCTION)?;
    let loaded = opened.load()?;
    attach::by_section(&loaded.program(PROGRAM)?).map(drop)
}

fn try_kprobe_multi() -> Result<(), Problem> {
    const PROGRAM: &str = "on_kprobe_multi";
    let loaded = opened(PROGRAM)?.load()?;
    attach::to_kprobe_multi(&loaded.program(PROGRAM)?, FunctionEnd::Entry, &[FUNCTION]).map(drop)
}

fn opened(program: &str) -> Result<Opened, Problem> {
    let mut opened = Opened::open("hook", trilobite_node_ebpf::hook(1))?;
    opened.only(&[program]);
    opened.set("layout", HookLayout::default())?;
    Ok(opened)
}
