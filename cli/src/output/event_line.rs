//! A process event on one line, as `tetra getevents -o compact` prints it.

use trilobite_api::tetragon::{CapabilitiesType, GetEventsResponse, Process, ThrottleType, get_events_response::Event};

use super::{
    clock,
    paint::{Paint, plain, quoted},
};

/// Column at which the mark of privileges ends.
const WIDTH: usize = 120;

#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) paint: Paint,
    /// Begin with the time.
    pub(crate) timestamps: bool,
}

/// The line without its end; none for an event that this version does not know.
pub(crate) fn line(response: &GetEventsResponse, style: Style) -> Option<String> {
    let (text, privileged) = Line { response, paint: style.paint }.event(response.event.as_ref()?)?;
    let time = response.time.as_ref().filter(|_| style.timestamps);
    let mut line = time.map(|time| format!("{} ", clock::nine_digits(time))).unwrap_or_default();
    line.push_str(text.trim_end());
    if privileged {
        let trailer = style.paint.magenta("🛑 CAP_SYS_ADMIN");
        let width = WIDTH.saturating_sub(line.len());
        line.push_str(&format!(" {trailer:>width$}"));
    }
    Some(line)
}

/// Whether the event reports lost events: RateLimitInfo, or to clients that do not ask for it a throttle event without
/// a type.
pub(crate) fn is_loss(response: &GetEventsResponse) -> bool {
    match &response.event {
        Some(Event::RateLimitInfo(_)) => true,
        Some(Event::ProcessThrottle(throttle)) => throttle.r#type() == ThrottleType::ThrottleUnknown,
        _ => false,
    }
}

struct Line<'a> {
    response: &'a GetEventsResponse,
    paint: Paint,
}

impl Line<'_> {
    /// The line, and whether the process holds CAP_SYS_ADMIN.
    fn event(&self, event: &Event) -> Option<(String, bool)> {
        let paint = self.paint;
        let (process, text) = match event {
            Event::ProcessExec(exec) => {
                let process = exec.process.as_ref();
                (process, self.process_line("🚀", "process", process, &self.arguments_of(process)))
            }
            Event::ProcessExit(exit) => {
                let process = exit.process.as_ref();
                let how = if exit.signal.is_empty() { exit.status.to_string() } else { plain(&exit.signal) };
                let extra = format!("{} {}", self.arguments_of(process), paint.red(&how));
                (process, self.process_line("💥", "exit", process, extra.trim_start()))
            }
            Event::ProcessTracepoint(point) => {
                let what = format!("{} {}", quoted(&point.subsys), quoted(&point.event));
                (point.process.as_ref(), self.process_line("⁉️", "tracepoint", point.process.as_ref(), &what))
            }
            Event::ProcessKprobe(probe) => {
                let what = quoted(&probe.function_name);
                (probe.process.as_ref(), self.process_line("❓", "syscall", probe.process.as_ref(), &what))
            }
            Event::ProcessLsm(lsm) => {
                let what = quoted(&lsm.function_name);
                (lsm.process.as_ref(), self.process_line("🔒", "LSM", lsm.process.as_ref(), &what))
            }
            Event::ProcessUprobe(probe) => {
                let what = format!("{} {}", quoted(&probe.path), quoted(&probe.symbol));
                (probe.process.as_ref(), self.process_line("🕵️", "uprobe", probe.process.as_ref(), &what))
            }
            Event::ProcessUsdt(usdt) => {
                let what = format!("{} {} {}", quoted(&usdt.path), quoted(&usdt.provider), quoted(&usdt.name));
                (usdt.process.as_ref(), self.process_line("🕵️", "usdt", usdt.process.as_ref(), &what))
            }
            Event::ProcessLoader(loader) => {
                let id: String = loader.buildid.iter().map(|byte| format!("{byte:02x}")).collect();
                let what = format!("{id} {}", paint.yellow(&quoted(&loader.path)));
                (loader.process.as_ref(), self.process_line("🧬", "loader", loader.process.as_ref(), what.trim_start()))
            }
            Event::ProcessThrottle(throttle) if is_loss(self.response) => {
                (None, self.loss_line(&plain(&throttle.cgroup)))
            }
            Event::ProcessThrottle(throttle) => {
                let verb = if throttle.r#type() == ThrottleType::ThrottleStop { "STOP " } else { "START" };
                (None, format!("🧬 {} {verb} {}", paint.red("throttle"), quoted(&throttle.cgroup)))
            }
            Event::RateLimitInfo(lost) => {
                (None, self.loss_line(&format!("{} events lost", lost.number_of_dropped_process_events)))
            }
            Event::Test(_) => return None,
        };
        Some((text, process.is_some_and(privileged)))
    }

    fn process_line(&self, emoji: &str, verb: &str, process: Option<&Process>, extra: &str) -> String {
        let paint = self.paint;
        let binary = process.map(|process| quoted(&process.binary)).unwrap_or_default();
        format!(
            "{emoji} {} {} {} {extra}",
            paint.blue(&format!("{verb:<7}")),
            paint.green(&self.origin(process)),
            paint.magenta(&binary)
        )
    }

    fn loss_line(&self, what: &str) -> String {
        let paint = self.paint;
        format!("🕳 {} {} {}", paint.blue(&format!("{:<7}", "lost")), self.response.node_name, paint.red(what))
    }

    /// The pod, or the node for a process of the host.
    fn origin(&self, process: Option<&Process>) -> String {
        match process.and_then(|process| process.pod.as_ref()) {
            Some(pod) => plain(&format!("{}/{}", pod.namespace, pod.name)),
            None => quoted(&self.response.node_name),
        }
    }

    fn arguments_of(&self, process: Option<&Process>) -> String {
        self.paint.cyan(&process.map(|process| plain(&process.arguments)).unwrap_or_default())
    }
}

fn privileged(process: &Process) -> bool {
    let admin = CapabilitiesType::CapSysAdmin.into();
    process.cap.as_ref().is_some_and(|cap| cap.effective.contains(&admin))
}

#[cfg(test)]
mod tests {
    use trilobite_api::tetragon::{Capabilities, Pod, ProcessExec, ProcessExit, ProcessTracepoint, RateLimitInfo};

    use super::*;

    const PLAIN: Style = Style { paint: Paint(false), timestamps: false };

    fn curl() -> Process {
        Process {
            binary: "/usr/bin/curl".into(),
            arguments: "-s https://fossil.example".into(),
            pod: Some(Pod { namespace: "shop".into(), name: "till-1".into(), ..Pod::default() }),
            ..Process::default()
        }
    }

    fn response(event: Event) -> GetEventsResponse {
        GetEventsResponse {
            event: Some(event),
            node_name: "alder".into(),
            time: Some(prost_types::Timestamp { seconds: 1_696_629_837, nanos: 1 }),
            ..GetEventsResponse::default()
        }
    }

    fn exec(process: Process) -> GetEventsResponse {
        response(Event::ProcessExec(ProcessExec { process: Some(process), ..ProcessExec::default() }))
    }

    fn exit(signal: &str, status: u32) -> GetEventsResponse {
        let process = Some(curl());
        response(Event::ProcessExit(ProcessExit { process, signal: signal.into(), status, ..ProcessExit::default() }))
    }

    #[test]
    fn exec_shows_pod_binary_and_arguments() {
        assert_eq!(
            line(&exec(curl()), PLAIN).unwrap(),
            "🚀 process shop/till-1 /usr/bin/curl -s https://fossil.example"
        );
        let timed = Style { timestamps: true, ..PLAIN };
        assert!(line(&exec(curl()), timed).unwrap().starts_with("2023-10-06T22:03:57.000000001Z 🚀 process "));
    }

    #[test]
    fn exit_ends_with_the_signal_or_the_status() {
        let begin = "💥 exit    shop/till-1 /usr/bin/curl -s https://fossil.example";
        assert_eq!(line(&exit("SIGKILL", 0), PLAIN).unwrap(), format!("{begin} SIGKILL"));
        assert_eq!(line(&exit("", 60), PLAIN).unwrap(), format!("{begin} 60"));
    }

    #[test]
    fn tracepoint_of_a_host_process_shows_the_node() {
        let process = Process { pod: None, arguments: String::new(), ..curl() };
        let point = ProcessTracepoint {
            process: Some(process),
            subsys: "syscalls".into(),
            event: "sys_enter_openat".into(),
            ..ProcessTracepoint::default()
        };
        assert_eq!(
            line(&response(Event::ProcessTracepoint(point)), PLAIN).unwrap(),
            "⁉️ tracepoint alder /usr/bin/curl syscalls sys_enter_openat"
        );
    }

    #[test]
    fn mark_of_privileges_needs_cap_sys_admin() {
        let many =
            Process { cap: Some(Capabilities { effective: (0..21).collect(), ..Capabilities::default() }), ..curl() };
        assert!(!line(&exec(many), PLAIN).unwrap().contains("CAP_SYS_ADMIN"));
        let admin = Process {
            cap: Some(Capabilities {
                effective: vec![CapabilitiesType::CapSysAdmin.into()],
                ..Capabilities::default()
            }),
            ..curl()
        };
        assert!(line(&exec(admin), PLAIN).unwrap().ends_with(" 🛑 CAP_SYS_ADMIN"));
    }

    #[test]
    fn colors_are_those_of_tetra() {
        let text = line(&exec(curl()), Style { paint: Paint(true), timestamps: false }).unwrap();
        assert!(text.contains("\x1b[34mprocess\x1b[0m \x1b[32mshop/till-1\x1b[0m \x1b[35m/usr/bin/curl\x1b[0m"));
    }

    #[test]
    fn lost_events_are_a_line_of_their_own() {
        let lost = Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: 12 });
        assert_eq!(line(&response(lost), PLAIN).unwrap(), "🕳 lost    alder 12 events lost");
    }
}
