//! Converts events of the security layer to Tetragon's messages. Pure: the same event gives the same message on any
//! machine. As with Tetragon's `enable-process-cred`, the process has credentials, its parent has none.

use std::{fmt::Write, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use trilobite_api::tetragon::{self as api, get_events_response::Event};

use super::{
    argument::{argument, arguments},
    credentials, health_check, signal,
};
use crate::{
    identity::{Container, ExecKey, Located, Pod, PodContainer, Process, TRUNC_ARGS},
    kernel::clock::BootTime,
    layers::security::{
        HookEvent, SecurityEvent, SecurityEventKind, UNKNOWN,
        event::{Action, HookPoint, StackFrame},
    },
    loss::{LossPoint, gap::Gap},
    serve::timestamps::{timestamp, wall_time},
};

/// Length of the prefix of a container's id in `docker`.
const DOCKER_CHARS: usize = 31;

/// Fields of the machine that every event carries, and the conversion of events.
#[derive(Clone, Debug)]
pub struct EventEncoder {
    pub node_name: Arc<str>,
    /// Empty without a cluster.
    pub cluster_name: Arc<str>,
    /// Converts times of the boot clock.
    pub boot_time: Arc<BootTime>,
}

impl EventEncoder {
    /// Without ancestors, as Tetragon's events are by default.
    pub fn message(&self, event: &SecurityEvent) -> api::GetEventsResponse {
        self.message_with(event, false)
    }

    /// The ancestors that the event has are shown if `with_ancestors`.
    pub fn message_with(&self, event: &SecurityEvent, with_ancestors: bool) -> api::GetEventsResponse {
        // Read once: the process and its parent share it.
        let boot = self.boot_time.get();
        let mut process = self.process(&event.process, boot);
        let parent = event.parent.as_ref().map(|parent| self.process(parent, boot));
        let shown = if with_ancestors { &event.ancestors[..] } else { &[] };
        let ancestors = shown.iter().map(|ancestor| self.one_of_many(ancestor, boot)).collect();
        if event.process.process.flags != UNKNOWN {
            let credentials = &event.process.process.credentials;
            process.cap = Some(credentials::capabilities(credentials));
            let user_ns = credentials::user_namespace(&event.process.process);
            process.process_credentials = Some(api::ProcessCredentials { user_ns, ..credentials::ids(credentials) });
            process.ns = credentials::namespaces(&event.process.process);
        }

        let kind = match &event.kind {
            SecurityEventKind::Exec => {
                process.binary_properties = credentials::binary_properties(&event.process.process);
                Event::ProcessExec(api::ProcessExec { process: Some(process), parent, ancestors })
            }
            SecurityEventKind::Exit { status, signal } => Event::ProcessExit(api::ProcessExit {
                process: Some(process),
                parent,
                signal: signal::name(*signal).into_owned(),
                status: *status,
                time: Some(timestamp(event.time)),
                ancestors,
            }),
            SecurityEventKind::Hook(hook) => {
                process.tid = Some(hook.tid);
                hook_event(hook, process, parent, ancestors)
            }
        };
        let mut message = self.envelope(kind, event.time);
        if let SecurityEventKind::Hook(hook) = &event.kind {
            // Counts this event too.
            message.aggregation_info =
                (hook.suppressed > 0).then(|| api::AggregationInfo { count: hook.suppressed.saturating_add(1) });
        }
        message
    }

    /// Like `rate_limit_info`, with the place of the loss, for clients that cannot show one.
    pub fn loss_notice(&self, place: LossPoint, count: u64, now: Timestamp) -> api::GetEventsResponse {
        self.notice(format!("{count} events lost: {}", loss_reason(place)), now)
    }

    /// In place of the events of a time without an agent.
    pub fn gap_notice(&self, gap: &Gap) -> api::GetEventsResponse {
        let Gap { from, to, reason } = gap;
        self.notice(format!("no events from {from} to {to}: {reason}"), *to)
    }

    /// process_throttle is the only event without a process that all encoders of Tetragon's clients print; its text is
    /// free.
    fn notice(&self, cgroup: String, now: Timestamp) -> api::GetEventsResponse {
        let r#type = api::ThrottleType::ThrottleUnknown.into();
        self.envelope(Event::ProcessThrottle(api::ProcessThrottle { r#type, cgroup }), now)
    }

    /// In place of `count` missing events.
    pub fn rate_limit_info(&self, count: u64, now: Timestamp) -> api::GetEventsResponse {
        let event = Event::RateLimitInfo(api::RateLimitInfo { number_of_dropped_process_events: count });
        self.envelope(event, now)
    }

    fn envelope(&self, event: Event, time: Timestamp) -> api::GetEventsResponse {
        api::GetEventsResponse {
            event: Some(event),
            node_name: self.node_name.to_string(),
            time: Some(timestamp(time)),
            cluster_name: self.cluster_name.to_string(),
            ..api::GetEventsResponse::default()
        }
    }

    /// A process outside of any event.
    pub(super) fn process_message(&self, located: &Located) -> api::Process {
        self.one_of_many(located, self.boot_time.get())
    }

    fn process(&self, located: &Located, boot: Timestamp) -> api::Process {
        let Process {
            key,
            parent,
            tid,
            uid,
            auid,
            binary,
            argv0,
            arguments,
            cwd,
            flags,
            started_ns,
            ns_pid,
            in_init_tree,
            ..
        } = &*located.process;
        let place = located.pod.as_deref();
        // If the exec was lost, only the key and the pod are known; a zero would claim e.g. that the user is root.
        let known = flags != UNKNOWN;
        api::Process {
            exec_id: self.exec_id(*key),
            pid: Some(key.pid),
            uid: known.then_some(*uid),
            cwd: cwd.clone(),
            binary: binary.clone(),
            arguments: arguments.to_string(),
            flags: flags.clone(),
            start_time: wall_time(boot, *started_ns).map(timestamp),
            auid: known.then_some(*auid),
            pod: place
                .filter(|place| !place.pod.name.is_empty())
                .map(|place| pod(place, *ns_pid, health_check::is_exec_probe(located))),
            docker: place.map(docker).unwrap_or_default().to_owned(),
            parent_exec_id: self.exec_id(*parent),
            tid: known.then_some(*tid),
            in_init_tree: *in_init_tree,
            argv0: argv0.as_deref().map(str::to_owned),
            ..api::Process::default()
        }
    }

    /// A process in a list. Clients accept messages of 4 MiB: long arguments are cut.
    fn one_of_many(&self, located: &Located, boot: Timestamp) -> api::Process {
        let mut process = self.process(located, boot);
        if let Some(short) = located.process.arguments.shortened() {
            process.arguments.truncate(short.len());
            if !process.flags.contains(TRUNC_ARGS) {
                process.flags.extend([" ", TRUNC_ARGS]);
            }
        }
        process
    }

    /// Tetragon's id of a process image, also for an unknown process.
    pub(in crate::serve) fn exec_id(&self, key: ExecKey) -> String {
        let ExecKey { ktime, pid } = if key.pid == 0 { ExecKey { ktime: 1, pid: 0 } } else { key };
        let mut text = String::with_capacity(self.node_name.len() + 32);
        // Writing to a string cannot fail.
        let _ = write!(text, "{}:{ktime}:{pid}", self.node_name);
        STANDARD.encode(text)
    }
}

fn loss_reason(place: LossPoint) -> &'static str {
    match place {
        LossPoint::StreamReader => "this client of the stream is too slow",
        LossPoint::ExportQueue => "they could not be written, or not fast enough",
        LossPoint::IdentityRing => "the kernel had no room for them in the ring of processes",
        LossPoint::PolicyRing => "the kernel had no room for them in the ring of policies",
        LossPoint::Undecided => "the pod of their cgroup did not become known in time",
        other => other.as_str(),
    }
}

/// The prefix of the container's id that Tetragon's events carry.
pub(super) fn docker(place: &PodContainer) -> &str {
    place.container_id.get(..DOCKER_CHARS).unwrap_or(&place.container_id)
}

fn pod(place: &PodContainer, ns_pid: u32, maybe_exec_probe: bool) -> api::Pod {
    let Pod { uid, namespace, name, labels, workload, workload_kind, .. } = &*place.pod;
    api::Pod {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: uid.clone(),
        container: place.container.as_ref().map(|it| container(it, ns_pid, maybe_exec_probe)),
        pod_labels: labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        workload: workload.clone(),
        workload_kind: workload_kind.clone(),
        ..api::Pod::default()
    }
}

fn container(container: &Container, ns_pid: u32, maybe_exec_probe: bool) -> api::Container {
    let Container { name, id, image, image_id, started_at, privileged, exec_probes: _ } = container;
    api::Container {
        id: id.clone(),
        name: name.clone(),
        image: Some(api::Image { id: image_id.clone(), name: image.clone() }),
        start_time: started_at.parse().ok().map(timestamp),
        pid: (ns_pid > 0).then_some(ns_pid),
        maybe_exec_probe,
        security_context: Some(api::SecurityContext { privileged: *privileged }),
    }
}

fn hook_event(
    hook: &HookEvent,
    process: api::Process,
    parent: Option<api::Process>,
    ancestors: Vec<api::Process>,
) -> Event {
    let (process, selector) = (Some(process), &hook.selector);
    let (policy_name, message) = (selector.policy.to_string(), selector.message.to_string());
    let (args, tags, action) = (arguments(&hook.args), selector.tags.to_vec(), action(hook.action).into());
    match &*hook.point {
        HookPoint::Function { name } => Event::ProcessKprobe(api::ProcessKprobe {
            process,
            parent,
            function_name: name.to_string(),
            args,
            r#return: hook.returned.as_ref().map(argument),
            action,
            kernel_stack_trace: hook.kernel_stack.iter().map(stack_frame).collect(),
            policy_name,
            // As with Tetragon, a hook whose return does nothing says that it was posted.
            return_action: self::action(hook.return_action.unwrap_or_default()).into(),
            message,
            tags,
            user_stack_trace: hook.user_stack.iter().map(stack_frame).collect(),
            ancestors,
            data: arguments(&hook.data),
        }),
        HookPoint::Tracepoint { subsystem, event } => Event::ProcessTracepoint(api::ProcessTracepoint {
            process,
            parent,
            subsys: subsystem.to_string(),
            event: event.to_string(),
            args,
            policy_name,
            action,
            message,
            tags,
            ancestors,
        }),
    }
}

fn action(action: Action) -> api::KprobeAction {
    match action {
        Action::Post => api::KprobeAction::Post,
        Action::NoPost => api::KprobeAction::Nopost,
        Action::Sigkill => api::KprobeAction::Sigkill,
        Action::Signal => api::KprobeAction::Signal,
        Action::TrackSock => api::KprobeAction::Tracksock,
        Action::UntrackSock => api::KprobeAction::Untracksock,
    }
}

/// Without the address, which would tell where the kernel lies in memory; Tetragon omits it by default.
fn stack_frame(frame: &StackFrame) -> api::StackTraceEntry {
    let StackFrame { symbol, offset, module } = frame;
    api::StackTraceEntry { address: 0, offset: *offset, symbol: symbol.clone(), module: module.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tetragon::samples;

    fn decoded(exec_id: &str) -> String {
        String::from_utf8(STANDARD.decode(exec_id).unwrap()).unwrap()
    }

    fn exec(event: &SecurityEvent) -> (api::Process, Option<api::Process>) {
        match samples::encoder().message(event).event {
            Some(Event::ProcessExec(exec)) => (exec.process.unwrap(), exec.parent),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parent_exec_id_is_the_exec_id_of_the_parent() {
        let (process, parent) = exec(&samples::exec());
        assert_eq!(decoded(&process.exec_id), "reef:123456789012:4111");
        assert_eq!(process.parent_exec_id, parent.unwrap().exec_id);
    }

    #[test]
    fn unknown_parent_has_the_id_that_tetragon_writes() {
        let mut event = samples::exec_on_the_host();
        Arc::make_mut(&mut event.process.process).parent = ExecKey::default();
        assert_eq!(decoded(&exec(&event).0.parent_exec_id), "reef:1:0");
    }

    #[test]
    fn many_ancestors_with_long_arguments_fit_into_one_message() {
        let mut event = samples::exec();
        let process = Arc::make_mut(&mut event.process.process);
        process.arguments = "\u{1}".repeat(64 << 10).into();
        // As a chain of forks without an exec.
        event.parent = Some(event.process.clone());
        event.ancestors = vec![event.process.clone(); 64];
        let message = samples::encoder().message_with(&event, true);
        let size = prost::Message::encoded_len(&message);
        assert!(size < 1 << 20, "{size} bytes; clients accept 4 MiB");
        let Some(Event::ProcessExec(exec)) = message.event else { panic!() };
        assert_eq!(exec.process.unwrap().arguments.len(), 64 << 10);
        assert_eq!(exec.parent.unwrap().arguments.len(), 64 << 10);
        assert!(exec.ancestors.iter().all(|process| process.arguments.len() == 4096));
        assert!(exec.ancestors.iter().all(|process| process.flags.ends_with(" truncArgs")));
    }

    #[test]
    fn process_with_a_lost_exec_has_no_user() {
        let mut event = samples::exec();
        let process = Arc::make_mut(&mut event.process.process);
        *process = Process { key: process.key, flags: UNKNOWN.into(), started_ns: 7, ..Process::default() };
        let process = exec(&event).0;
        assert_eq!((process.pid, process.flags.as_str()), (Some(4111), UNKNOWN));
        assert!(process.start_time.is_some() && process.pod.is_some());
        assert_eq!((process.uid, process.auid, process.tid, process.in_init_tree), (None, None, None, None));
        assert_eq!((process.cap, process.process_credentials), (None, None));
    }

    #[test]
    fn tracepoint_has_the_id_of_its_thread() {
        let Some(Event::ProcessTracepoint(passed)) = samples::encoder().message(&samples::tracepoint()).event else {
            panic!("no tracepoint");
        };
        assert_eq!(passed.process.map(|process| (process.pid, process.tid)), Some((Some(4111), Some(4115))));
    }

    #[test]
    fn applet_is_named_by_its_first_argument() {
        let mut event = samples::exec_on_the_host();
        let process = Arc::make_mut(&mut event.process.process);
        process.binary = "/proc/self/exe".into();
        (process.file, process.argv0) = (Some("/bin/busybox".into()), Some("sleep".into()));
        let json = trilobite_api::json::to_string(&samples::encoder().message(&event));
        assert!(json.contains(r#""binary":"/proc/self/exe""#) && json.contains(r#""argv0":"sleep""#), "{json}");
        assert!(json.contains(r#""path":"/bin/busybox""#), "{json}");
    }

    #[test]
    fn host_process_has_neither_pod_nor_container() {
        let (process, parent) = exec(&samples::exec_on_the_host());
        assert_eq!((process.pod, process.docker.as_str(), parent), (None, "", None));
    }

    #[test]
    fn docker_is_a_prefix_of_the_containers_id() {
        let (process, _) = exec(&samples::exec());
        assert_eq!(process.docker, "0123456789abcdef0123456789abcde");
    }

    #[test]
    fn start_time_is_computed_from_the_boot_clock() {
        let started = exec(&samples::exec()).0.start_time.unwrap();
        assert_eq!((started.seconds, started.nanos), (1_700_000_123, 456_000_005));
    }
}
