//! Events as the lines of `tetra getevents -o compact`, with one difference: CAP_SYS_ADMIN at the end of a line means
//! that the process has it in fact.

mod hook;
mod paint;

pub use paint::Paint;

use std::fmt::Write;

use jiff::{Timestamp, tz::TimeZone};
use trilobite_api::tetragon::{self as api, CapabilitiesType, ThrottleType, get_events_response::Event};

/// Column of the mark at the end of a line, in bytes.
const WIDTH: usize = 120;

/// Parts of a line.
struct Line<'a> {
    /// Emoji and word.
    what: String,
    /// None for an event without a process.
    process: Option<&'a api::Process>,
    /// The rest of the line; an empty text still follows a blank.
    tail: Option<String>,
    /// Further lines of the event.
    below: String,
}

/// One line with its end, followed by the lines of stack traces. None for an event that lacks its process.
pub fn text(event: &api::GetEventsResponse, paint: Paint, timestamps: bool) -> Option<String> {
    let Line { what, process, tail, below } = line(event, paint)?;
    let mut text = String::new();
    if timestamps {
        text.push_str(&time(event));
        text.push(' ');
    }
    let line = match process {
        Some(process) => {
            let source = match &process.pod {
                Some(pod) => paint.green(&format!("{}/{}", pod.namespace, pod.name)),
                None => paint.green(&event.node_name),
            };
            let tail = tail.map(|tail| format!(" {tail}")).unwrap_or_default();
            let line = format!("{what} {source} {}{tail}", paint.magenta(&process.binary));
            with_capabilities(line, &paint.magenta(capability(process)))
        }
        None => format!("{what} {}", tail.unwrap_or_default()),
    };
    let _ = write!(text, "{line}\n{below}");
    Some(text)
}

fn line(event: &api::GetEventsResponse, paint: Paint) -> Option<Line<'_>> {
    let of_process = |what: (&str, &str), process, tail: String| Line {
        what: paint.blue(&format!("{} {:<7}", what.0, what.1)),
        process: Some(process),
        tail: Some(tail),
        below: String::new(),
    };
    Some(match event.event.as_ref()? {
        Event::ProcessExec(exec) => {
            let process = exec.process.as_ref()?;
            of_process(("🚀", "process"), process, paint.cyan(&process.arguments))
        }
        Event::ProcessExit(exit) => {
            let process = exit.process.as_ref()?;
            let end = if exit.signal.is_empty() { exit.status.to_string() } else { exit.signal.clone() };
            of_process(("💥", "exit"), process, format!("{} {}", paint.cyan(&process.arguments), paint.red(&end)))
        }
        Event::ProcessThrottle(throttle) => {
            let start = match throttle.r#type() {
                ThrottleType::ThrottleStart => paint.red("START"),
                ThrottleType::ThrottleStop => paint.green("STOP "),
                ThrottleType::ThrottleUnknown => String::new(),
            };
            let what = paint.red("🧬 throttle");
            Line { what, process: None, tail: Some(format!("{start} {}", throttle.cgroup)), below: String::new() }
        }
        Event::ProcessLoader(loader) => {
            let mut build: String = loader.buildid.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            if !build.is_empty() {
                build.push(' ');
            }
            of_process(("🧬", "loader"), loader.process.as_ref()?, format!("{build}{}", paint.yellow(&loader.path)))
        }
        Event::ProcessKprobe(kprobe) => {
            let (what, tail) = hook::describe(kprobe, paint);
            let line = of_process((what.0, &what.1), kprobe.process.as_ref()?, String::new());
            Line { tail, below: hook::stacks(kprobe, paint), ..line }
        }
        Event::ProcessTracepoint(point) => {
            let process = point.process.as_ref()?;
            match hook::system_call(point) {
                Some(call) => of_process(("☎ ", "syscall"), process, call),
                None => of_process(("⁉️", "tracepoint"), process, format!("{} {}", point.subsys, point.event)),
            }
        }
        Event::ProcessUprobe(probe) => {
            of_process(("🕵️", "uprobe"), probe.process.as_ref()?, format!("{} {}", probe.path, probe.symbol))
        }
        Event::ProcessUsdt(probe) => {
            let tail = format!("{} {} {}", probe.path, probe.provider, probe.name);
            of_process(("🕵️", "usdt"), probe.process.as_ref()?, tail)
        }
        Event::ProcessLsm(lsm) => of_process(("🔒", "LSM"), lsm.process.as_ref()?, lsm.function_name.clone()),
        Event::Test(_) => {
            Line { what: "TEST".to_owned(), process: None, tail: Some("EVENT".to_owned()), below: String::new() }
        }
        Event::RateLimitInfo(info) => {
            let tail = format!("{} events lost", info.number_of_dropped_process_events);
            Line { what: paint.red("🧬 throttle"), process: None, tail: Some(tail), below: String::new() }
        }
    })
}

fn capability(process: &api::Process) -> &'static str {
    let admin = i32::from(CapabilitiesType::CapSysAdmin);
    match &process.cap {
        Some(cap) if cap.effective.contains(&admin) => "🛑 CAP_SYS_ADMIN",
        _ => "",
    }
}

fn with_capabilities(line: String, capabilities: &str) -> String {
    if capabilities.is_empty() {
        return line;
    }
    let width = WIDTH.saturating_sub(line.len());
    format!("{line} {capabilities:>width$}")
}

fn time(event: &api::GetEventsResponse) -> String {
    let time = event.time.unwrap_or_default();
    let time = Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}
