//! Cells of events in a table. Texts of workloads are escaped for terminals and cut.

use trilobite_api::tetragon::{GetEventsResponse, Process, get_events_response::Event};
use trilobite_untrusted_text::escape;

use super::object::milliseconds;

/// Characters of a cell.
const MAX_CELL: usize = 160;

/// The name of an event's type, as field selectors take it.
pub fn event_name(event: &Event) -> &'static str {
    match event {
        Event::ProcessExec(_) => "exec",
        Event::ProcessExit(_) => "exit",
        Event::ProcessKprobe(_) => "kprobe",
        Event::ProcessTracepoint(_) => "tracepoint",
        Event::ProcessLoader(_) => "loader",
        Event::ProcessUprobe(_) => "uprobe",
        Event::ProcessThrottle(_) => "throttle",
        Event::ProcessLsm(_) => "lsm",
        Event::ProcessUsdt(_) => "usdt",
        Event::Test(_) => "test",
        Event::RateLimitInfo(_) => "lost",
    }
}

/// The process that an event is about.
pub(super) fn process(event: &Event) -> Option<&Process> {
    match event {
        Event::ProcessExec(event) => event.process.as_ref(),
        Event::ProcessExit(event) => event.process.as_ref(),
        Event::ProcessKprobe(event) => event.process.as_ref(),
        Event::ProcessTracepoint(event) => event.process.as_ref(),
        Event::ProcessLoader(event) => event.process.as_ref(),
        Event::ProcessUprobe(event) => event.process.as_ref(),
        Event::ProcessLsm(event) => event.process.as_ref(),
        Event::ProcessUsdt(event) => event.process.as_ref(),
        Event::ProcessThrottle(_) | Event::Test(_) | Event::RateLimitInfo(_) => None,
    }
}

pub(super) fn cells(response: &GetEventsResponse, event: &Event, time: u64) -> Vec<String> {
    let process = process(event);
    let pod = process.and_then(|process| process.pod.as_ref());
    vec![
        milliseconds(time),
        cell(&response.node_name),
        event_name(event).to_owned(),
        cell(pod.map_or("", |pod| &pod.name)),
        cell(process.map_or("", |process| &process.binary)),
        cell(&details(event)),
    ]
}

fn details(event: &Event) -> String {
    match event {
        Event::ProcessExec(event) => {
            event.process.as_ref().map(|process| process.arguments.clone()).unwrap_or_default()
        }
        Event::ProcessExit(event) if event.signal.is_empty() => format!("status {}", event.status),
        Event::ProcessExit(event) => format!("killed by {}", event.signal),
        Event::ProcessKprobe(event) => with_policy(&event.function_name, &event.policy_name),
        Event::ProcessTracepoint(event) => {
            with_policy(&format!("{}/{}", event.subsys, event.event), &event.policy_name)
        }
        Event::ProcessLoader(event) => event.path.clone(),
        Event::ProcessUprobe(event) => with_policy(&format!("{} {}", event.path, event.symbol), &event.policy_name),
        Event::ProcessLsm(event) => with_policy(&event.function_name, &event.policy_name),
        Event::ProcessUsdt(event) => {
            with_policy(&format!("{} {}:{}", event.path, event.provider, event.name), &event.policy_name)
        }
        Event::ProcessThrottle(event) => event.cgroup.clone(),
        Event::RateLimitInfo(event) => format!("{} events lost", event.number_of_dropped_process_events),
        Event::Test(_) => String::new(),
    }
}

fn with_policy(what: &str, policy: &str) -> String {
    if policy.is_empty() { what.to_owned() } else { format!("{what} (policy {policy})") }
}

/// Escaped, and cut with an ellipsis.
pub fn cell(text: &str) -> String {
    if text.len() <= MAX_CELL {
        return escape(text);
    }
    let mut cut: String = text.chars().take(MAX_CELL).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    escape(&cut)
}

#[cfg(test)]
mod tests {
    use trilobite_api::tetragon::{ProcessExit, ProcessTracepoint};

    use super::*;

    #[test]
    fn details_say_what_happened() {
        let exit = |signal: &str| ProcessExit { signal: signal.into(), status: 7, ..ProcessExit::default() };
        assert_eq!(details(&Event::ProcessExit(exit(""))), "status 7");
        assert_eq!(details(&Event::ProcessExit(exit("SIGKILL"))), "killed by SIGKILL");
        let point = ProcessTracepoint {
            subsys: "syscalls".into(),
            event: "sys_enter_openat".into(),
            policy_name: "reads".into(),
            ..ProcessTracepoint::default()
        };
        assert_eq!(details(&Event::ProcessTracepoint(point)), "syscalls/sys_enter_openat (policy reads)");
    }

    #[test]
    fn long_cells_are_cut_and_hostile_ones_escaped() {
        assert_eq!(cell("a\u{1b}[2J"), "a\\x1b[2J");
        assert_eq!(cell(&"é".repeat(200)).chars().count(), MAX_CELL + 1);
        assert_eq!(cell(&"é".repeat(MAX_CELL)).chars().count(), MAX_CELL);
    }
}
