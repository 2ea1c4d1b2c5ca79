//! The parts of an event that have secrets or great length: its processes, and the arguments of its hook.

use trilobite_api::tetragon::{KprobeArgument, Process, get_events_response::Event};

/// The process, its parent and its ancestors.
pub(crate) fn processes(event: &mut Event) -> impl Iterator<Item = &mut Process> {
    let (process, parent, ancestors) = match event {
        Event::ProcessExec(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessExit(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessKprobe(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessTracepoint(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessLoader(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessUprobe(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessLsm(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessUsdt(it) => (&mut it.process, &mut it.parent, &mut it.ancestors),
        Event::ProcessThrottle(_) | Event::Test(_) | Event::RateLimitInfo(_) => return Vec::new().into_iter(),
    };
    process.iter_mut().chain(parent).chain(ancestors).collect::<Vec<_>>().into_iter()
}

/// Arguments, data and the returned value.
pub(crate) fn hook_arguments(event: &mut Event) -> impl Iterator<Item = &mut KprobeArgument> {
    let arguments: Vec<&mut KprobeArgument> = match event {
        Event::ProcessKprobe(it) => it.args.iter_mut().chain(&mut it.data).chain(&mut it.r#return).collect(),
        Event::ProcessTracepoint(it) => it.args.iter_mut().collect(),
        Event::ProcessUprobe(it) => it.args.iter_mut().chain(&mut it.data).collect(),
        Event::ProcessLsm(it) => it.args.iter_mut().collect(),
        Event::ProcessUsdt(it) => it.args.iter_mut().collect(),
        _ => Vec::new(),
    };
    arguments.into_iter()
}
