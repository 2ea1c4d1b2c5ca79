//! What the security layer says, as Tetragon's event. Pure: the same event gives the same message, on any machine.
//! As with Tetragon's `enable-process-cred`, credentials stand in the process, not in its parent.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::{credentials, signal};
use crate::{
    identity::{Container, ExecKey, Located, Pod, PodContainer, Process},
    kernel::clock::Booted,
    layers::security::{ArgValue, SecurityEvent, SecurityEventKind, UNKNOWN},
    report::{Place, gap::Gap},
    serve::proto::tetragon::{self as api, get_events_response::Event, kprobe_argument::Arg},
};

/// How much of a container's id Tetragon shows in `docker`.
const DOCKER_CHARS: usize = 31;

/// What every event says about the machine.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Name of the node.
    pub node_name: Arc<str>,
    /// Name of the cluster; empty where it has none.
    pub cluster_name: Arc<str>,
    /// Where the boot clock's zero lies on the wall clock.
    pub booted: Arc<Booted>,
}

impl Scene {
    /// The event as a message.
    pub fn message(&self, event: &SecurityEvent) -> api::GetEventsResponse {
        let mut process = self.process(&event.process);
        let parent = event.parent.as_ref().map(|parent| self.process(parent));
        if event.process.process.flags != UNKNOWN {
            let credentials = &event.process.process.credentials;
            process.cap = Some(credentials::capabilities(credentials));
            process.process_credentials = Some(credentials::ids(credentials));
        }

        let kind = match &event.kind {
            SecurityEventKind::Exec => {
                process.binary_properties = credentials::binary_properties(&event.process.process);
                Event::ProcessExec(api::ProcessExec { process: Some(process), parent, ancestors: Vec::new() })
            }
            SecurityEventKind::Exit { status, signal } => Event::ProcessExit(api::ProcessExit {
                process: Some(process),
                parent,
                signal: signal::name(*signal).to_owned(),
                status: *status,
                time: Some(timestamp(event.time)),
                ancestors: Vec::new(),
            }),
            SecurityEventKind::Tracepoint {
                tid,
                policy,
                subsystem,
                event,
                message,
                tags,
                args,
                policy_namespace: _,
            } => {
                process.tid = Some(*tid);
                Event::ProcessTracepoint(api::ProcessTracepoint {
                    process: Some(process),
                    parent,
                    subsys: subsystem.to_string(),
                    event: event.to_string(),
                    args: args.iter().map(|(value, label)| argument(value, label.as_deref())).collect(),
                    policy_name: policy.to_string(),
                    action: api::KprobeAction::Post.into(),
                    message: message.to_string(),
                    tags: tags.to_vec(),
                    ancestors: Vec::new(),
                })
            }
        };
        self.envelope(kind, event.time)
    }

    /// As `missing`, for readers that cannot show a rate_limit_info, and with where they were lost.
    pub fn lost(&self, place: Place, count: u64, now: Timestamp) -> api::GetEventsResponse {
        self.notice(format!("{count} events lost: {}", why(place)), now)
    }

    /// What stands where nobody watched.
    pub fn unwatched(&self, gap: &Gap) -> api::GetEventsResponse {
        let Gap { from, to, reason } = gap;
        self.notice(format!("nobody watched from {from} to {to}: {reason}"), *to)
    }

    /// The one event of Tetragon's that is of no process and that all of its encoders know; its text is free.
    fn notice(&self, cgroup: String, now: Timestamp) -> api::GetEventsResponse {
        let r#type = api::ThrottleType::ThrottleUnknown.into();
        self.envelope(Event::ProcessThrottle(api::ProcessThrottle { r#type, cgroup }), now)
    }

    /// What stands in a stream where `count` events are missing.
    pub fn missing(&self, count: u64, now: Timestamp) -> api::GetEventsResponse {
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

    fn process(&self, located: &Located) -> api::Process {
        let Process {
            key,
            parent,
            tid,
            uid,
            auid,
            binary,
            arguments,
            cwd,
            flags,
            started_ns,
            ns_pid,
            in_init_tree,
            ..
        } = &*located.process;
        let place = located.pod.as_deref();
        // Of an image whose exec was lost only the key and the place are known; a zero would be a claim: of root, say.
        let known = flags != UNKNOWN;
        api::Process {
            exec_id: self.exec_id(*key),
            pid: Some(key.pid),
            uid: known.then_some(*uid),
            cwd: cwd.clone(),
            binary: binary.clone(),
            arguments: arguments.clone(),
            flags: flags.clone(),
            start_time: self.at(*started_ns).map(timestamp),
            auid: known.then_some(*auid),
            pod: place.filter(|place| !place.pod.name.is_empty()).map(|place| pod(place, *ns_pid)),
            docker: place.map(docker).unwrap_or_default().to_owned(),
            parent_exec_id: self.exec_id(*parent),
            tid: known.then_some(*tid),
            in_init_tree: *in_init_tree,
            ..api::Process::default()
        }
    }

    /// Tetragon's name for a process image; where nothing is known, what Tetragon writes then.
    fn exec_id(&self, key: ExecKey) -> String {
        let ExecKey { ktime, pid } = if key.pid == 0 { ExecKey { ktime: 1, pid: 0 } } else { key };
        STANDARD.encode(format!("{}:{ktime}:{pid}", self.node_name))
    }

    fn at(&self, boot_ns: u64) -> Option<Timestamp> {
        let since = jiff::SignedDuration::from_nanos(i64::try_from(boot_ns).ok()?);
        self.booted.at().checked_add(since).ok()
    }
}

fn why(place: Place) -> &'static str {
    match place {
        Place::StreamReader => "this reader of the stream is too slow",
        Place::ExportQueue => "they could not be written, or not fast enough",
        Place::IdentityRing => "the kernel had no room for them in the ring of processes",
        Place::PolicyRing => "the kernel had no room for them in the ring of policies",
        Place::Undecided => "the pod of their cgroup did not become known in time",
        other => other.as_str(),
    }
}

/// The piece of the container's id that Tetragon's events carry.
pub(super) fn docker(place: &PodContainer) -> &str {
    place.container_id.get(..DOCKER_CHARS).unwrap_or(&place.container_id)
}

fn pod(place: &PodContainer, ns_pid: u32) -> api::Pod {
    let Pod { uid, namespace, name, labels, workload, workload_kind, .. } = &*place.pod;
    api::Pod {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: uid.clone(),
        container: place.container.as_ref().map(|it| container(it, ns_pid)),
        pod_labels: labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        workload: workload.clone(),
        workload_kind: workload_kind.clone(),
        ..api::Pod::default()
    }
}

fn container(container: &Container, ns_pid: u32) -> api::Container {
    let Container { name, id, image, image_id, started_at, privileged } = container;
    api::Container {
        id: id.clone(),
        name: name.clone(),
        image: Some(api::Image { id: image_id.clone(), name: image.clone() }),
        start_time: started_at.parse().ok().map(timestamp),
        pid: (ns_pid > 0).then_some(ns_pid),
        maybe_exec_probe: false,
        security_context: Some(api::SecurityContext { privileged: *privileged }),
    }
}

fn argument(value: &ArgValue, label: Option<&str>) -> api::KprobeArgument {
    let arg = match value {
        ArgValue::Int(value) => Arg::IntArg(*value),
        ArgValue::Uint(value) => Arg::UintArg(*value),
        ArgValue::Long(value) => Arg::LongArg(*value),
        ArgValue::Size(value) => Arg::SizeArg(*value),
        ArgValue::String(value) => Arg::StringArg(value.clone()),
        ArgValue::Syscall { id, abi } => Arg::SyscallId(api::SyscallId { id: *id, abi: (*abi).to_owned() }),
    };
    api::KprobeArgument { arg: Some(arg), label: label.unwrap_or_default().to_owned() }
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    // Before 1970 jiff counts the fraction down, protobuf up.
    if nanos < 0 {
        return prost_types::Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 };
    }
    prost_types::Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tetragon::samples;

    fn decoded(exec_id: &str) -> String {
        String::from_utf8(STANDARD.decode(exec_id).unwrap()).unwrap()
    }

    fn exec(event: &SecurityEvent) -> (api::Process, Option<api::Process>) {
        match samples::scene().message(event).event {
            Some(Event::ProcessExec(exec)) => (exec.process.unwrap(), exec.parent),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_process_names_its_parent_by_the_parents_own_exec_id() {
        let (process, parent) = exec(&samples::exec());
        assert_eq!(decoded(&process.exec_id), "reef:123456789012:4111");
        assert_eq!(process.parent_exec_id, parent.unwrap().exec_id);
    }

    #[test]
    fn a_parent_that_is_not_known_is_named_as_tetragon_does() {
        let mut event = samples::exec_on_the_host();
        Arc::make_mut(&mut event.process.process).parent = ExecKey::default();
        assert_eq!(decoded(&exec(&event).0.parent_exec_id), "reef:1:0");
    }

    #[test]
    fn a_process_of_which_only_the_key_is_known_is_nobody_and_not_root() {
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
    fn a_tracepoint_is_of_the_thread_that_passed_it() {
        let Some(Event::ProcessTracepoint(passed)) = samples::scene().message(&samples::tracepoint()).event else {
            panic!("no tracepoint");
        };
        assert_eq!(passed.process.map(|process| (process.pid, process.tid)), Some((Some(4111), Some(4115))));
    }

    #[test]
    fn a_process_of_the_host_has_neither_pod_nor_container() {
        let (process, parent) = exec(&samples::exec_on_the_host());
        assert_eq!((process.pod, process.docker.as_str(), parent), (None, "", None));
    }

    #[test]
    fn docker_is_the_first_31_characters_of_the_containers_id() {
        let (process, _) = exec(&samples::exec());
        assert_eq!(process.docker, "0123456789abcdef0123456789abcde");
    }

    #[test]
    fn an_image_starts_where_the_boot_clock_says() {
        let started = exec(&samples::exec()).0.start_time.unwrap();
        assert_eq!((started.seconds, started.nanos), (1_700_000_123, 456_000_005));
    }
}
