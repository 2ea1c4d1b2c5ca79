//! A process event on one line, as `tetra getevents -o compact` prints it.

use trilobite_api::tetragon::{CapabilitiesType, GetEventsResponse, Process, ThrottleType, get_events_response::Event};
use trilobite_untrusted_text::{escape, quote};

use super::{clock, paint::Paint};

/// Column at which the mark of privileges ends.
const WIDTH: usize = 120;
/// In place of a binary that the agent could not read; a path of this form would be in quotes.
const UNKNOWN: &str = "<unknown>";
/// Characters of a container's id, as many as other tools show.
const CONTAINER_ID: usize = 12;

#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) paint: Paint,
    /// Begin with the time.
    pub(crate) timestamps: bool,
}

/// The line without its end; none for an event that this version does not know.
pub(crate) fn line(response: &GetEventsResponse, style: Style) -> Option<String> {
    let (text, privileges) = Line { response, paint: style.paint }.event(response.event.as_ref()?)?;
    let mut line = String::new();
    if style.timestamps {
        line = response.time.as_ref().map_or_else(|| clock::NO_TIME.to_owned(), clock::nine_digits);
        line.push(' ');
    }
    line.push_str(text.trim_end());
    if let Some(mark) = privileges {
        let trailer = style.paint.magenta(mark);
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
    /// The line, and the mark of the process's privileges.
    fn event(&self, event: &Event) -> Option<(String, Option<&'static str>)> {
        let paint = self.paint;
        let (process, text) = match event {
            Event::ProcessExec(exec) => {
                let process = exec.process.as_ref();
                (process, self.process_line("🚀", "process", process, &self.arguments_of(process)))
            }
            Event::ProcessExit(exit) => {
                let process = exit.process.as_ref();
                let how = if exit.signal.is_empty() { exit.status.to_string() } else { escape(&exit.signal) };
                let extra = format!("{} {}", self.arguments_of(process), paint.red(&how));
                (process, self.process_line("💥", "exit", process, extra.trim_start()))
            }
            Event::ProcessTracepoint(point) => {
                let what = format!("{} {}", quote(&point.subsys), quote(&point.event));
                (point.process.as_ref(), self.process_line("⁉️", "tracepoint", point.process.as_ref(), &what))
            }
            Event::ProcessKprobe(probe) => {
                let what = quote(&probe.function_name);
                (probe.process.as_ref(), self.process_line("❓", "syscall", probe.process.as_ref(), &what))
            }
            Event::ProcessLsm(lsm) => {
                let what = quote(&lsm.function_name);
                (lsm.process.as_ref(), self.process_line("🔒", "LSM", lsm.process.as_ref(), &what))
            }
            Event::ProcessUprobe(probe) => {
                let what = format!("{} {}", quote(&probe.path), quote(&probe.symbol));
                (probe.process.as_ref(), self.process_line("🕵️", "uprobe", probe.process.as_ref(), &what))
            }
            Event::ProcessUsdt(usdt) => {
                let what = format!("{} {} {}", quote(&usdt.path), quote(&usdt.provider), quote(&usdt.name));
                (usdt.process.as_ref(), self.process_line("🕵️", "usdt", usdt.process.as_ref(), &what))
            }
            Event::ProcessLoader(loader) => {
                let id: String = loader.buildid.iter().map(|byte| format!("{byte:02x}")).collect();
                let what = format!("{id} {}", paint.yellow(&quote(&loader.path)));
                (loader.process.as_ref(), self.process_line("🧬", "loader", loader.process.as_ref(), what.trim_start()))
            }
            Event::ProcessThrottle(throttle) if is_loss(self.response) => {
                (None, self.loss_line(&escape(&throttle.cgroup)))
            }
            Event::ProcessThrottle(throttle) => {
                let verb = if throttle.r#type() == ThrottleType::ThrottleStop { "STOP " } else { "START" };
                (None, format!("🧬 {} {verb} {}", paint.red("throttle"), quote(&throttle.cgroup)))
            }
            Event::RateLimitInfo(lost) => {
                (None, self.loss_line(&format!("{} events lost", lost.number_of_dropped_process_events)))
            }
            Event::Test(_) => return None,
        };
        Some((text, process.and_then(privileges)))
    }

    fn process_line(&self, emoji: &str, verb: &str, process: Option<&Process>, extra: &str) -> String {
        let paint = self.paint;
        let binary = match process.map_or("", |process| process.binary.as_str()) {
            "" => UNKNOWN.to_owned(),
            // Quoted by hand: a file of this very name must not pass for an unknown one.
            UNKNOWN => format!("\"{UNKNOWN}\""),
            path => quote(path),
        };
        format!(
            "{emoji} {} {} {} {extra}",
            paint.blue(&format!("{verb:<7}")),
            paint.green(&self.origin(process)),
            paint.magenta(&binary)
        )
    }

    fn loss_line(&self, what: &str) -> String {
        let paint = self.paint;
        let node = quote(&self.response.node_name);
        format!("🕳 {} {node} {}", paint.blue(&format!("{:<7}", "lost")), paint.red(what))
    }

    /// The pod, the container of a pod whose name is not known, or the node for a process of the host.
    fn origin(&self, process: Option<&Process>) -> String {
        let Some(process) = process else { return quote(&self.response.node_name) };
        match &process.pod {
            Some(pod) => escape(&format!("{}/{}", pod.namespace, pod.name)),
            None if process.docker.is_empty() => quote(&self.response.node_name),
            None => format!("container:{}", quote(&process.docker.chars().take(CONTAINER_ID).collect::<String>())),
        }
    }

    fn arguments_of(&self, process: Option<&Process>) -> String {
        self.paint.cyan(&process.map(|process| escape(&process.arguments)).unwrap_or_default())
    }
}

/// The mark of CAP_SYS_ADMIN. Anyone may make a user namespace and have it there: that is no privilege on the node.
fn privileges(process: &Process) -> Option<&'static str> {
    let admin = CapabilitiesType::CapSysAdmin.into();
    let user = process.ns.as_ref().and_then(|namespaces| namespaces.user.as_ref());
    match process.cap.as_ref().is_some_and(|cap| cap.effective.contains(&admin)) {
        false => None,
        true if user.is_some_and(|user| !user.is_host) => Some("CAP_SYS_ADMIN (user ns)"),
        true => Some("🛑 CAP_SYS_ADMIN"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_api::tetragon::{
        Capabilities, Namespace, Namespaces, Pod, ProcessExec, ProcessExit, ProcessThrottle, ProcessTracepoint,
        RateLimitInfo,
    };
    use trilobite_untrusted_text::is_unprintable;

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
        assert!(line(&exec(admin.clone()), PLAIN).unwrap().ends_with(" 🛑 CAP_SYS_ADMIN"));
        let within = |is_host| {
            let user = Some(Namespace { inum: 4_026_531_837, is_host });
            let ns = Some(Namespaces { user, ..Namespaces::default() });
            line(&exec(Process { ns, ..admin.clone() }), PLAIN).unwrap()
        };
        assert!(within(true).ends_with(" 🛑 CAP_SYS_ADMIN"));
        assert!(
            within(false).ends_with(" CAP_SYS_ADMIN (user ns)") && !within(false).contains('🛑'),
            "{}",
            within(false)
        );
    }

    #[test]
    fn unknown_binary_and_unnamed_pod_are_marked() {
        let unnamed = Process { binary: String::new(), pod: None, docker: "0123456789abcdef".into(), ..curl() };
        assert_eq!(
            line(&exec(unnamed), PLAIN).unwrap(),
            "🚀 process container:0123456789ab <unknown> -s https://fossil.example"
        );
        let lost = ProcessExec { process: None, ..ProcessExec::default() };
        assert_eq!(line(&response(Event::ProcessExec(lost)), PLAIN).unwrap(), "🚀 process alder <unknown>");
        let disguised = Process { binary: "<unknown>".into(), ..curl() };
        assert!(line(&exec(disguised), PLAIN).unwrap().contains(" \"<unknown>\" "));
    }

    #[test]
    fn colors_are_those_of_tetra() {
        let text = line(&exec(curl()), Style { paint: Paint(true), timestamps: false }).unwrap();
        assert!(text.contains("\x1b[34mprocess\x1b[0m \x1b[32mshop/till-1\x1b[0m \x1b[35m/usr/bin/curl\x1b[0m"));
    }

    proptest! {
        #[test]
        fn no_text_of_a_process_reaches_the_terminal_raw(text in any::<String>()) {
            let pod = Pod { namespace: text.clone(), name: text.clone(), ..Pod::default() };
            let process = Process { binary: text.clone(), arguments: text.clone(), pod: Some(pod), ..Process::default() };
            let point = ProcessTracepoint {
                process: Some(Process { pod: None, docker: text.clone(), ..process.clone() }),
                subsys: text.clone(),
                event: text.clone(),
                ..ProcessTracepoint::default()
            };
            let throttle = ProcessThrottle { cgroup: text.clone(), ..ProcessThrottle::default() };
            for event in [
                exec(process.clone()).event.unwrap(),
                Event::ProcessExit(ProcessExit { process: Some(process), signal: text.clone(), ..ProcessExit::default() }),
                Event::ProcessTracepoint(point),
                Event::ProcessThrottle(throttle),
            ] {
                let line = line(&GetEventsResponse { node_name: text.clone(), ..response(event) }, PLAIN).unwrap();
                prop_assert!(!line.chars().any(is_unprintable), "{:?}", line);
            }
        }
    }

    #[test]
    fn lost_events_are_a_line_of_their_own() {
        let lost = Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: 12 });
        assert_eq!(line(&response(lost), PLAIN).unwrap(), "🕳 lost    alder 12 events lost");
    }
}
