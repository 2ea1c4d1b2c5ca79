//! Events for tests: every kind of the security layer, and messages with every member of Tetragon's events.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use trilobite_api::tetragon::{self as api, get_events_response::Event, kprobe_argument::Arg};

use super::{AgentInfo, EventEncoder, policies};
use crate::{
    identity::{Container, Credentials, ExecKey, IdentityService, Located, Pod, PodContainer, Process, UserNamespace},
    kernel::clock::BootTime,
    layers::security::{
        Arg as HookArg, ArgValue, HookEvent, SecurityEvent, SecurityEventKind,
        event::{
            Action, HookPoint, SelectorInfo, StackFrame,
            value::{BpfMapValue, BpfProgramValue, CapabilitySet, FileValue, PerfEventValue, SkbValue, SockValue},
        },
        policy_report::PolicyReports,
    },
    loss::{Ledger, LossPoint},
};

/// All capabilities.
const ALL: u64 = (1 << 41) - 1;
/// The default capabilities of a container.
const CONTAINER: u64 = 0xa804_25fb;

pub(crate) fn encoder() -> EventEncoder {
    let boot_time = Arc::new(BootTime::fixed(Timestamp::new(1_700_000_000, 5).unwrap()));
    EventEncoder { node_name: "reef".into(), cluster_name: "atoll".into(), boot_time }
}

pub(crate) fn agent_info(version: &str, problem: watch::Receiver<Option<String>>) -> AgentInfo {
    let policies = PolicyReports::default();
    policies.set_source(Box::new(policies::tests::reports));
    AgentInfo {
        version: version.to_owned(),
        problem,
        policies,
        identity: IdentityService::new(Arc::default(), Ledger::default(), false),
        probes: vec![("btf", true)],
    }
}

fn time() -> Timestamp {
    Timestamp::new(1_700_000_123, 456_789_000).unwrap()
}

pub(crate) fn place() -> Arc<PodContainer> {
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let container = Container {
        name: "till".into(),
        id: format!("containerd://{id}"),
        image: "registry.example/till:3".into(),
        image_id: "registry.example/till@sha256:77".into(),
        started_at: "2023-11-14T22:13:21Z".into(),
        privileged: false,
        exec_probes: vec![["curl", "-s", "http://till/"].map(String::from).to_vec()],
    };
    let pod = Pod {
        uid: "5d7a".into(),
        namespace: "payments".into(),
        name: "cashier-7f9c-x2".into(),
        labels: [("tier", "back"), ("app", "cashier")].map(|(key, value)| (key.into(), value.into())).into(),
        workload: "cashier".into(),
        workload_kind: "Deployment".into(),
        containers: vec![container.clone()],
        ..Pod::default()
    };
    Arc::new(PodContainer { pod: Arc::new(pod), container: Some(container), container_id: id.into() })
}

fn shell() -> Process {
    Process {
        key: ExecKey { ktime: 100_000_000_001, pid: 4100 },
        parent: ExecKey { ktime: 7, pid: 1 },
        tid: 4100,
        uid: 1000,
        auid: u32::MAX,
        binary: "/bin/sh".into(),
        arguments: "-c \"curl -s \\\"héllo\\\"\" \t\u{1}".into(),
        cwd: "/srv".into(),
        flags: "execve clone inInitTree".into(),
        in_init_tree: Some(true),
        started_ns: 100_000_000_001,
        ns_pid: 1,
        credentials: Credentials { uid: [1000; 4], gid: [1000; 4], permitted: CONTAINER, ..Credentials::default() },
        ..Process::default()
    }
}

fn curl() -> Process {
    Process {
        key: ExecKey { ktime: 123_456_789_012, pid: 4111 },
        parent: shell().key,
        tid: 4111,
        uid: 0,
        binary: "/usr/bin/curl".into(),
        arguments: "-s http://till/".into(),
        flags: "execve rootcwd clone".into(),
        in_init_tree: Some(false),
        cwd: "/".into(),
        started_ns: 123_456_000_000,
        ns_pid: 9,
        credentials: Credentials {
            uid: [1000, 0, 0, 0],
            gid: [1000; 4],
            permitted: CONTAINER,
            effective: CONTAINER,
            securebits: 0b11,
            user_namespace: UserNamespace { level: 1, owner: 1000, group: 100 },
            ..Credentials::default()
        },
        namespaces: [0, 0, 0, 0, 0, 0, 0, 0, 0, 4_026_532_777],
        setuid: Some(0),
        raised_by_file: true,
        file: Some("/usr/lib/curl/curl-8".into()),
        inode: (991, 0),
        ..shell()
    }
}

fn event(process: Process, parent: Option<Process>, in_pod: bool, kind: SecurityEventKind) -> SecurityEvent {
    let located = |process| Located { process: Arc::new(process), pod: in_pod.then(place) };
    let (process, parent) = (located(process), parent.map(located));
    SecurityEvent { time: time(), process, parent, ancestors: Vec::new(), kind }
}

pub(crate) fn exec() -> SecurityEvent {
    event(curl(), Some(shell()), true, SecurityEventKind::Exec)
}

pub(crate) fn exec_on_the_host() -> SecurityEvent {
    let credentials = Credentials { permitted: ALL, effective: ALL, ..Credentials::default() };
    let process = Process {
        binary: "/usr/sbin/sshd".into(),
        arguments: "".into(),
        flags: "execve clone".into(),
        in_init_tree: Some(false),
        credentials,
        namespaces: [0, 0, 0, 0, 0, 0, 0, 0, 0, 4_026_531_837],
        ..shell()
    };
    event(process, None, false, SecurityEventKind::Exec)
}

pub(crate) fn exit(status: u32, signal: u32) -> SecurityEvent {
    event(curl(), Some(shell()), true, SecurityEventKind::Exit { status, signal })
}

/// An event of a policy named like its hook.
pub(crate) fn hook(point: HookPoint, policy: &str, args: Vec<(ArgValue, Option<&str>)>) -> HookEvent {
    HookEvent {
        tid: 4115,
        point: Arc::new(point),
        selector: Arc::new(SelectorInfo {
            policy: policy.into(),
            policy_namespace: "payments".into(),
            message: "opened".into(),
            tags: Arc::new(["observability.filesystem".to_owned()]),
            ..SelectorInfo::default()
        }),
        action: Action::Post,
        return_action: None,
        noted: None,
        args: args.into_iter().map(|(value, label)| HookArg { value, label: label.map(Into::into) }).collect(),
        data: Vec::new(),
        returned: None,
        kernel_stack: Vec::new(),
        user_stack: Vec::new(),
        suppressed: 0,
        is_undecided: false,
    }
}

pub(crate) fn hook_event(hook: HookEvent) -> SecurityEvent {
    event(curl(), Some(shell()), true, SecurityEventKind::Hook(Box::new(hook)))
}

pub(crate) fn tracepoint() -> SecurityEvent {
    let args = vec![
        (ArgValue::Int(-2), Some("fd")),
        (ArgValue::Uint(7), None),
        (ArgValue::Long(i64::MIN), None),
        (ArgValue::Size(u64::MAX), None),
        (ArgValue::String("a\"b\\c\n".into()), Some("path")),
        (ArgValue::Syscall { id: 257, abi: "x64" }, None),
        (ArgValue::Int(0), None),
        (ArgValue::Unreadable("the string could not be read: Bad address (os error 14)".into()), Some("name")),
    ];
    let point = HookPoint::Tracepoint { subsystem: "syscalls".into(), event: "sys_enter_openat".into() };
    hook_event(hook(point, "watch-openat", args))
}

fn function(name: &str) -> HookPoint {
    HookPoint::Function { name: name.into() }
}

pub(crate) fn sock() -> SockValue {
    SockValue {
        family: 2,
        r#type: 1,
        protocol: 6,
        state: 2,
        source: "10.0.1.4".parse().ok(),
        destination: "185.234.218.95".parse().ok(),
        source_port: 42_312,
        destination_port: 4444,
        cookie: u64::MAX,
        mark: 5,
        priority: 3,
    }
}

/// The connection that the article forbids.
pub(crate) fn connect() -> SecurityEvent {
    let args = vec![(ArgValue::Sock(Box::new(sock())), Some("sk"))];
    let mut killed = hook(function("tcp_connect"), "detect-unexpected-outbound", args);
    (killed.action, killed.suppressed) = (Action::Sigkill, 4);
    hook_event(killed)
}

/// A call with every kind of argument that the others do not have, data, a return value and stacks.
pub(crate) fn every_argument() -> SecurityEvent {
    let file = |path: &str| FileValue { path: path.into(), mode: 0o104_755, ..FileValue::default() };
    let cut = FileValue { is_cut: true, mode: 0o041_777, ..file("deep/er") };
    let program = || BpfProgramValue { r#type: 2, instructions: 9, name: "probe".into() };
    let skb = SkbValue {
        family: 10,
        protocol: 17,
        source: "fd00::1".parse().ok(),
        destination: "fd00::2".parse().ok(),
        source_port: 53,
        destination_port: 40_001,
        length: 99,
        mark: 4,
        priority: 2,
        ..SkbValue::default()
    };
    let map = BpfMapValue { r#type: 1, key_size: 4, value_size: 8, max_entries: 4096, name: "table".into() };
    let perf = PerfEventValue { r#type: 2, function: "tcp_close".into(), config: 5, probe_offset: 7 };
    let namespace = UserNamespace { level: 1, owner: 1000, group: 100 };
    let values = vec![
        ArgValue::Bytes { bytes: vec![0, 255], size: 2 },
        ArgValue::Bytes { bytes: vec![1], size: 300 },
        ArgValue::File(file("/usr/bin/su")),
        ArgValue::Path(cut.clone()),
        ArgValue::File(cut.clone()),
        ArgValue::Binprm(cut),
        ArgValue::Binprm(file("/usr/bin/curl")),
        ArgValue::Skb(Box::new(skb)),
        ArgValue::Sockaddr { family: 2, address: "10.0.0.9".parse().ok(), port: 443 },
        ArgValue::SockaddrUn { family: 1, path: "@hidden".into() },
        ArgValue::Credentials { credentials: Box::new(curl().credentials), user_namespace: 4_026_532_777 },
        ArgValue::UserNamespace { namespace, inode: 4_026_532_777 },
        ArgValue::Capability(21),
        ArgValue::Capabilities(CapabilitySet::Any, ALL),
        ArgValue::Capabilities(CapabilitySet::Inheritable, 0),
        ArgValue::Capabilities(CapabilitySet::Permitted, CONTAINER),
        ArgValue::Capabilities(CapabilitySet::Effective, 1),
        ArgValue::Module { name: "nf".into(), signature_ok: Some(true), taints: 1 << 12 | 1 },
        ArgValue::BpfAttr(program()),
        ArgValue::BpfProgram(program()),
        ArgValue::BpfMap(Box::new(map)),
        ArgValue::BpfCommand(5),
        ArgValue::PerfEvent(Box::new(perf)),
    ];
    let arg = |value| HookArg { value, label: None };
    let mut event = hook(function("security_everything"), "all-arguments", Vec::new());
    event.args = values.into_iter().map(arg).collect();
    event.data = vec![HookArg { value: ArgValue::Uint(1000), label: Some("uid".into()) }];
    event.returned = Some(arg(ArgValue::Int(-13)));
    event.return_action = Some(Action::TrackSock);
    event.kernel_stack = vec![StackFrame { symbol: "security_everything".into(), offset: 5, module: String::new() }];
    event.user_stack = vec![StackFrame { symbol: String::new(), offset: 0x1234, module: "/usr/lib/libc.so.6".into() }];
    hook_event(event)
}

pub(crate) fn events() -> Vec<SecurityEvent> {
    let processes = vec![exec(), exec_on_the_host(), exit(0, 9), exit(3, 0), exit(0, 0), exit(0, 34)];
    processes.into_iter().chain([tracepoint(), connect(), every_argument()]).collect()
}

/// Messages of every function that compact lines know, and of types that the agent does not make yet.
pub(crate) fn messages() -> Vec<api::GetEventsResponse> {
    let with = |event| api::GetEventsResponse {
        event: Some(event),
        node_labels: [("zone".to_owned(), "west".to_owned())].into(),
        aggregation_info: Some(api::AggregationInfo { count: 3 }),
        ..encoder().message(&exec())
    };
    let Some(Event::ProcessExec(exec)) = encoder().message(&exec()).event else { unreachable!() };
    let api::ProcessExec { process, parent, .. } = exec;
    let kprobe = |function: &str, args: Vec<Arg>| {
        let label = String::new();
        with(Event::ProcessKprobe(api::ProcessKprobe {
            process: process.clone(),
            parent: parent.clone(),
            function_name: function.to_owned(),
            args: args.into_iter().map(|arg| api::KprobeArgument { arg: Some(arg), label: label.clone() }).collect(),
            action: api::KprobeAction::Sigkill.into(),
            policy_name: "hooks".into(),
            tags: vec![String::new(), "two".into()],
            ..Default::default()
        }))
    };
    let file = |path: &str| Arg::FileArg(api::KprobeFile { path: path.into(), ..Default::default() });
    let text = |text: &str| Arg::StringArg(text.into());
    let sock = || {
        Arg::SockArg(api::KprobeSock {
            family: "AF_INET".into(),
            saddr: "10.0.0.2".into(),
            daddr: "1.1.1.1".into(),
            sport: 40_000,
            dport: 443,
            cookie: u64::MAX,
            ..Default::default()
        })
    };
    let map = Arg::BpfMapArg(api::KprobeBpfMap { map_name: "m".into(), key_size: 4, ..Default::default() });
    let program = Arg::BpfAttrArg(api::KprobeBpfAttr { prog_type: "T".into(), insn_cnt: 2, ..Default::default() });
    let perf = Arg::PerfEventArg(api::KprobePerfEvent { r#type: "HW".into(), ..Default::default() });
    let capability = Arg::CapabilityArg(api::KprobeCapability { value: Some(0), name: "CAP_CHOWN".into() });
    let bytes = Arg::TruncatedBytesArg(api::KprobeTruncatedBytes { bytes_arg: vec![0, 255, 62], orig_size: 9 });
    let module =
        Arg::ModuleArg(api::KernelModule { name: "nf".into(), signature_ok: Some(false), tainted: vec![4, 1024] });
    let step =
        api::StackTraceEntry { address: 0xffff_8000_0000_1234, offset: 17, symbol: "s".into(), module: "m".into() };
    let mut stacks = kprobe("security_bprm_check", vec![Arg::BytesArg(b"\xfb\xff".to_vec()), Arg::BpfCmdArg(5)]);
    if let Some(Event::ProcessKprobe(kprobe)) = &mut stacks.event {
        kprobe.kernel_stack_trace = vec![step.clone()];
        kprobe.user_stack_trace = vec![step.clone(), api::StackTraceEntry { symbol: String::new(), ..step }];
        kprobe.r#return = Some(api::KprobeArgument { arg: Some(Arg::IntArg(0)), label: "r".into() });
        kprobe.return_action = 77;
    }
    let (process, parent) = (process.clone(), parent.clone());
    let raw = api::ProcessTracepoint { process: process.clone(), subsys: "sched".into(), ..Default::default() };
    let loader = api::ProcessLoader {
        process: process.clone(),
        path: "/l.so".into(),
        buildid: vec![1, 171],
        parent: None,
        ancestors: Vec::new(),
    };
    let uprobe = api::ProcessUprobe {
        process: process.clone(),
        parent,
        path: "/b".into(),
        symbol: "f".into(),
        ..Default::default()
    };
    let usdt = api::ProcessUsdt {
        process: process.clone(),
        path: "/b".into(),
        provider: "p".into(),
        name: "n".into(),
        ..Default::default()
    };
    let lsm = api::ProcessLsm { process, function_name: "file_open".into(), ..Default::default() };
    vec![
        kprobe("__x64_sys_write", vec![file("/etc/x"), Arg::BytesArg(vec![]), Arg::SizeArg(12)]),
        kprobe("sys_read", vec![file("/etc/x")]),
        kprobe("fd_install", vec![Arg::IntArg(3), file("/etc/y")]),
        kprobe("sys_openat", vec![Arg::IntArg(3), text("/etc/z")]),
        kprobe("sys_open", vec![Arg::IntArg(3), text("/etc/z")]),
        kprobe("sys_close", vec![file("/etc/x")]),
        kprobe("sys_mount", vec![text("/a"), text("/b")]),
        kprobe("sys_pivot_root", vec![text("/a"), text("/b")]),
        kprobe("sys_setuid", vec![Arg::IntArg(0)]),
        kprobe("sys_clock_settime", vec![]),
        kprobe("proc_exec_connector", vec![]),
        kprobe("sys_setns", vec![Arg::IntArg(3), Arg::IntArg(0x4000_0000)]),
        kprobe("tcp_connect", vec![sock()]),
        kprobe("tcp_close", vec![sock()]),
        kprobe("tcp_sendmsg", vec![sock(), Arg::IntArg(5)]),
        kprobe("bpf_check", vec![program]),
        kprobe("security_perf_event_alloc", vec![perf]),
        kprobe("security_bpf_map_create", vec![map]),
        kprobe("security_file_permission", vec![file("/f"), Arg::IntArg(2)]),
        kprobe("security_file_permission", vec![file("/f"), Arg::IntArg(4)]),
        kprobe("security_mmap_file", vec![file("/f"), Arg::UintArg(5)]),
        kprobe(
            "security_path_truncate",
            vec![Arg::PathArg(api::KprobePath { path: "/p".into(), ..Default::default() })],
        ),
        kprobe("security_file_truncate", vec![file("/f")]),
        kprobe("cap_capable", vec![capability, bytes, module]),
        stacks,
        with(Event::ProcessTracepoint(raw)),
        with(Event::ProcessLoader(loader)),
        with(Event::ProcessUprobe(uprobe)),
        with(Event::ProcessUsdt(usdt)),
        with(Event::ProcessLsm(lsm)),
        with(Event::ProcessThrottle(api::ProcessThrottle { r#type: 1, cgroup: "/kubepods".into() })),
        with(Event::ProcessThrottle(api::ProcessThrottle { r#type: 2, cgroup: "/kubepods".into() })),
        encoder().loss_notice(LossPoint::StreamReader, 9, time()),
        with(Event::Test(api::Test { arg0: 1, ..Default::default() })),
    ]
}
