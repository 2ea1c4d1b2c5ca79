//! A small kernel with functions of every kind of argument, and random calls of them.

use std::net::IpAddr;

use trilobite_crds::{
    policy::evaluate::{
        Ancestor, CallSocket, CallValue, CallingProcess, CapabilitySets, CredentialIds, NamespaceIds, Workload,
    },
    selector::Labels,
};

use super::random::Random;
use crate::plan::policy::{
    facts::KernelFacts,
    value::{ValueKind, ValuePlan, ValueSource},
};

const FACTS: &str = "
release: '6.12'
fentry: true
functions:
  - int reef_open(struct file *file, int flags, const char *name, struct sock *sk, unsigned long size, signed char level)
  - int reef_caps(const kernel_cap_t *gained, const kernel_cap_t *before, const struct path *path, struct sockaddr *address, struct sockaddr *unix, long offset)
  - int security_bprm_check(struct linux_binprm *bprm)
  - int reef_names(const char *one, const char *two, u32 mask, u16 port, u64 key, s32 number)
rawTracepoints:
  reef_tide: 'unsigned int depth, const char *place, struct sk_buff *skb, s64 balance'
structs:
  task_struct: {bytes: 128, members: {comm: '16 char [16]', cred: '32 const struct cred *'}}
  cred: {bytes: 64, members: {uid: '8 kuid_t'}}
  kuid_t: {bytes: 4, members: {val: '0 u32'}}
  linux_binprm: {bytes: 64, members: {file: '8 struct file *', filename: '16 const char *'}}
hostNamespaces: {uts: 4026531838, ipc: 4026531839, mnt: 4026531841, pid: 4026531836, net: 4026531840, time: 4026531834, cgroup: 4026531835, user: 4026531837}
";

/// A function of the small kernel: its name, and the types of its arguments in the language of policies.
pub(super) struct SmallHook {
    pub(super) name: &'static str,
    pub(super) is_raw_tracepoint: bool,
    pub(super) types: &'static [&'static str],
}

pub(super) const HOOKS: &[SmallHook] = &[
    SmallHook {
        name: "reef_open",
        is_raw_tracepoint: false,
        types: &["file", "int", "string", "sock", "uint64", "sint8"],
    },
    SmallHook {
        name: "reef_caps",
        is_raw_tracepoint: false,
        types: &["kernel_cap_t", "cap_effective", "path", "sockaddr", "sockaddr_un", "int64"],
    },
    SmallHook { name: "security_bprm_check", is_raw_tracepoint: false, types: &["linux_binprm"] },
    SmallHook {
        name: "reef_names",
        is_raw_tracepoint: false,
        types: &["string", "string", "uint32", "uint16", "uint64", "int"],
    },
    SmallHook { name: "reef_tide", is_raw_tracepoint: true, types: &["auto", "auto", "skb", "auto"] },
];

pub(super) const PATHS: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc",
    "/etc/pa",
    "/usr/bin/curl",
    "/usr/bin/curl-config",
    "/usr/bin/python3",
    "/usr/bin",
    "/tmp/Reef",
    "/tmp/reef",
    "/",
    "",
    "curl",
    "hadow",
    "REEF",
];
pub(super) const ADDRESSES: &[&str] =
    &["10.0.0.1", "10.0.1.1", "10.1.2.3", "192.168.7.7", "127.0.0.1", "2001:db8::1", "2001:db8:1::7", "fe80::1", "::1"];
const PORTS: &[u16] = &[0, 22, 53, 80, 443, 1023, 1024, 4444, 65535];
pub(super) const PIDS: &[u32] = &[1, 2, 7, 100, 101, 4_194_304];
const NAMESPACES: &[u32] = &[0, 4_026_531_837, 4_026_531_836, 4_026_531_841, 4_026_532_000, 4_026_532_001];
const CAPABILITIES: &[u64] = &[0, 1, 2, 1 << 21, 1 << 12, 1 << 21 | 1 << 12, u64::MAX, 1 << 40];
const IDS: &[u32] = &[0, 1, 33, 1000, 1001, 1500, 1999, 2000, u32::MAX];

pub(super) fn kernel() -> KernelFacts {
    KernelFacts::parse(FACTS).unwrap()
}

/// One call of a hook, before a policy says what of it is read.
pub(super) struct SmallCall {
    pub(super) args: Vec<CallValue>,
    pub(super) returned: CallValue,
    pub(super) comm: CallValue,
    pub(super) uid: CallValue,
    pub(super) process: CallingProcess,
    pub(super) executed_file: Vec<Vec<u8>>,
}

impl SmallCall {
    pub(super) fn random(hook: &SmallHook, random: &mut Random) -> Self {
        let executed_file: Vec<Vec<u8>> = (0..2).map(|_| random.pick(PATHS).as_bytes().to_vec()).collect();
        let mut args: Vec<CallValue> = hook.types.iter().map(|r#type| value(r#type, random)).collect();
        if hook.name == "reef_tide" {
            args[0] = value("uint32", random);
            args[1] = value("string", random);
            args[3] = value("int64", random);
        }
        if hook.name == "security_bprm_check" {
            args[0] = CallValue::Text(executed_file[0].clone());
        }
        Self {
            args,
            returned: value("int", random),
            comm: value("string", random),
            uid: CallValue::Number((*random.pick(IDS)).into()),
            process: process(random),
            executed_file,
        }
    }

    /// What the kernel reads for a value of the plan.
    pub(super) fn read(&self, value: &ValuePlan) -> CallValue {
        match (value.source, value.kind) {
            (ValueSource::Argument(0), ValueKind::String) if !value.steps.is_empty() => {
                CallValue::Text(self.executed_file[1].clone())
            }
            (ValueSource::Argument(index), _) => self.args[usize::from(index)].clone(),
            (ValueSource::Return, _) => self.returned.clone(),
            (ValueSource::CurrentTask, ValueKind::String) => self.comm.clone(),
            (ValueSource::CurrentTask, _) => self.uid.clone(),
            (source, _) => panic!("{source:?} is not in the small kernel"),
        }
    }
}

fn value(r#type: &str, random: &mut Random) -> CallValue {
    if random.one_in(12) {
        return CallValue::Unreadable;
    }
    let small = random.below(12) as i128 - 3;
    let extreme = random.one_in(4);
    match r#type {
        "int" if extreme => CallValue::Number(*random.pick(&[i32::MIN.into(), i32::MAX.into(), -1, 0x4000_0000])),
        "int64" if extreme => CallValue::Number(*random.pick(&[i64::MIN.into(), i64::MAX.into(), -1, 1 << 40])),
        "sint8" => CallValue::Number(*random.pick(&[-128, -1, 0, 1, 5, 127])),
        "uint64" if extreme => {
            CallValue::Number(*random.pick(&[0, u64::MAX.into(), 1 << 63, (1 << 63) - 1, 0xff00_0000_0000]))
        }
        "uint32" | "uint16" | "uint64" => {
            CallValue::Number(*random.pick(&[0, 1, 2, 3, 4, 5, 8, 16, 255, 256, 4444, 65535]))
        }
        "int" | "int64" => CallValue::Number(small),
        "string" | "linux_binprm" => CallValue::Text(text(random)),
        "file" | "path" => {
            let mode = *random.pick(&[0o140_755, 0o120_777, 0o100_644, 0o060_600, 0o040_755, 0o020_666, 0o010_600]);
            CallValue::File { path: text(random), mode }
        }
        "kernel_cap_t" | "cap_effective" => CallValue::Capabilities(*random.pick(CAPABILITIES)),
        "sock" | "skb" => CallValue::Socket(CallSocket { path: None, ..socket(random) }),
        "sockaddr" => CallValue::Socket(CallSocket {
            path: None,
            daddr: None,
            dport: None,
            protocol: None,
            state: None,
            ..socket(random)
        }),
        "sockaddr_un" => CallValue::Socket(CallSocket {
            family: Some(1),
            path: Some(text(random)).filter(|_| !random.one_in(8)),
            ..CallSocket::default()
        }),
        _ => CallValue::Opaque,
    }
}

fn text(random: &mut Random) -> Vec<u8> {
    let mut text = random.pick(PATHS).as_bytes().to_vec();
    if random.one_in(3) {
        text.extend_from_slice(random.pick(PATHS).as_bytes());
    }
    text
}

fn socket(random: &mut Random) -> CallSocket {
    let address: IpAddr = random.pick(ADDRESSES).parse().unwrap();
    let other: IpAddr = random.pick(ADDRESSES).parse().unwrap();
    CallSocket {
        family: Some(*random.pick(&[1, 2, 10, 16])).filter(|_| !random.one_in(16)),
        protocol: Some(*random.pick(&[1, 6, 17, 132, 262])).filter(|_| !random.one_in(16)),
        state: Some(*random.pick(&[1, 2, 3, 7, 10])).filter(|_| !random.one_in(16)),
        saddr: Some(address).filter(|_| !random.one_in(16)),
        daddr: Some(other).filter(|_| !random.one_in(16)),
        sport: Some(*random.pick(PORTS)).filter(|_| !random.one_in(16)),
        dport: Some(*random.pick(PORTS)).filter(|_| !random.one_in(16)),
        path: None,
    }
}

fn process(random: &mut Random) -> CallingProcess {
    let sets = |random: &mut Random| CapabilitySets {
        effective: *random.pick(CAPABILITIES),
        inheritable: *random.pick(CAPABILITIES),
        permitted: *random.pick(CAPABILITIES),
    };
    let host = NamespaceIds([
        4_026_531_838,
        4_026_531_839,
        4_026_531_841,
        4_026_531_836,
        4_026_531_836,
        4_026_531_840,
        4_026_531_834,
        4_026_531_834,
        4_026_531_835,
        4_026_531_837,
    ]);
    let mut namespaces = host;
    let mut at_exec = host;
    for inode in namespaces.0.iter_mut().chain(&mut at_exec.0) {
        if random.one_in(3) {
            *inode = *random.pick(NAMESPACES);
        }
    }
    let capabilities = sets(random);
    let capabilities_at_exec = if random.one_in(2) { capabilities } else { sets(random) };
    CallingProcess {
        pid: *random.pick(PIDS),
        namespace_pid: *random.pick(PIDS),
        binary: random.pick(PATHS).as_bytes().to_vec(),
        ancestors: (0..random.below(3))
            .map(|_| Ancestor {
                pid: *random.pick(PIDS),
                namespace_pid: *random.pick(PIDS),
                binary: random.pick(PATHS).as_bytes().to_vec(),
            })
            .collect(),
        namespaces,
        namespaces_at_exec: at_exec,
        host_namespaces: host,
        capabilities,
        capabilities_at_exec,
        credentials: CredentialIds(std::array::from_fn(|_| *random.pick(IDS))),
        workload: workload(random),
    }
}

fn workload(random: &mut Random) -> Workload {
    if random.one_in(3) {
        return Workload::Host;
    }
    let app = random.pick(&["shop", "bank"]).to_string();
    Workload::Container {
        namespace: random.pick(&["tide", "reef"]).to_string(),
        labels: Labels::from([("app".to_owned(), app)]),
        container: random.pick(&["main", "side"]).to_string(),
        repo: random.pick(&["docker.io/library/nginx", "ghcr.io/shop/api"]).to_string(),
    }
}
