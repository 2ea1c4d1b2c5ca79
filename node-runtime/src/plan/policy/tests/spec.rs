//! Random policies on the hooks of the small kernel.

use std::sync::Arc;

use serde_json::{Value, json};
use trilobite_crds::{
    node::{PodScope, PolicyPart},
    policy::TracingPolicySpec,
};

use super::{
    random::Random,
    small_kernel::{ADDRESSES, HOOKS, PATHS, PIDS, SmallHook},
};

/// A part as a planner makes it, with one to three items on the same hook.
pub(super) fn random_part(hook: &SmallHook, random: &mut Random) -> Arc<PolicyPart> {
    let items: Vec<Value> = (0..1 + random.below(2)).map(|_| item(hook, random)).collect();
    let section = match hook.is_raw_tracepoint {
        true => "tracepoints",
        false if random.one_in(3) => "fentries",
        false => "kprobes",
    };
    let spec = json!({
        section: items,
        "lists": [{"name": "few", "values": ["1", "3", "0x10"]}, {"name": "calls", "type": "syscalls", "values": ["sys_read", "sys_open"]}],
    });
    Arc::new(PolicyPart {
        pods: Arc::new(PodScope { include_host: true, ..PodScope::default() }),
        spec: Arc::new(read(&spec)),
        ring_bytes: 1 << 20,
        dry_run: false,
    })
}

pub(super) fn read(spec: &Value) -> TracingPolicySpec {
    serde_json::from_value(spec.clone()).unwrap_or_else(|error| panic!("{error}: {spec}"))
}

fn item(hook: &SmallHook, random: &mut Random) -> Value {
    let returns = !hook.is_raw_tracepoint && random.one_in(3);
    let selectors: Vec<Value> = (0..random.below(4)).map(|_| selector(hook, returns, random)).collect();
    let args = hook.types.iter().enumerate().map(|(index, r#type)| json!({"index": index, "type": r#type}));
    let mut item = json!({"args": args.collect::<Vec<_>>(), "selectors": selectors});
    if hook.is_raw_tracepoint {
        item["subsystem"] = json!("reef");
        item["event"] = json!(hook.name);
        item["raw"] = json!(true);
        return item;
    }
    item["call"] = json!(hook.name);
    item["syscall"] = json!(false);
    item["data"] = json!([
        {"index": 0, "type": "string", "source": "current_task", "resolve": "comm"},
        {"index": 1, "type": "uint32", "source": "current_task", "resolve": "cred.uid.val"},
    ]);
    if returns {
        item["return"] = json!(true);
        item["returnArg"] = json!({"index": 0, "type": "int"});
    }
    item
}

fn selector(hook: &SmallHook, returns: bool, random: &mut Random) -> Value {
    let mut selector = json!({});
    for _ in 0..random.below(4) {
        let (list, filter) = match random.below(12) {
            0..=5 => {
                let index = random.below(hook.types.len());
                ("matchArgs", value_filter(index, effective_type(hook, index), random))
            }
            6 if hook.is_raw_tracepoint => ("matchPIDs", pids(random)),
            6 => {
                let index = random.below(2);
                ("matchData", value_filter(index, ["string", "uint32"][index], random))
            }
            7 if returns => ("matchReturnArgs", value_filter(0, "int", random)),
            7 | 8 => ("matchBinaries", binaries(random)),
            9 => ("matchParentBinaries", binaries(random)),
            10 => process_filter(random),
            _ => ("matchPIDs", pids(random)),
        };
        let filters = selector.as_object_mut().unwrap().entry(list).or_insert_with(|| json!([]));
        filters.as_array_mut().unwrap().push(filter);
    }
    if random.one_in(4) {
        selector["matchActions"] =
            random.pick(&[json!([{"action": "Sigkill"}]), json!([{"action": "NoPost"}])]).clone();
    }
    if random.one_in(6) {
        selector["matchWorkloads"] = workloads(random);
    }
    selector
}

/// The type of an argument, `auto` resolved.
fn effective_type(hook: &SmallHook, index: usize) -> &'static str {
    match (hook.is_raw_tracepoint, index) {
        (true, 0) => "uint32",
        (true, 1) => "string",
        (true, 3) => "int64",
        _ => hook.types[index],
    }
}

fn value_filter(index: usize, r#type: &str, random: &mut Random) -> Value {
    let (operator, values): (&str, Vec<String>) = match r#type {
        "string" | "linux_binprm" | "sockaddr_un" | "file" | "path" => {
            let is_file = matches!(r#type, "file" | "path");
            if is_file && random.one_in(4) {
                let types = ["sock", "lnk", "reg", "blk", "dir", "chr", "fifo"];
                (*random.pick(&["FileType", "NotFileType"]), texts(&types, random))
            } else if r#type == "sockaddr_un" && random.one_in(6) {
                ("Family", texts(&["AF_UNIX", "2"], random))
            } else {
                let operator = *random.pick(&[
                    "Equal",
                    "NotEqual",
                    "Prefix",
                    "NotPrefix",
                    "Postfix",
                    "NotPostfix",
                    "SubString",
                    "SubStringIgnCase",
                ]);
                (operator, texts(if operator.contains("qual") { PATHS } else { &PATHS[..11] }, random))
            }
        }
        "kernel_cap_t" | "cap_effective" => {
            if index == 0 && random.one_in(3) {
                return json!({"args": [0, 1], "operator": "CapabilitiesGained"});
            }
            (
                *random.pick(&["Equal", "NotEqual", "Mask"]),
                texts(&["CAP_SYS_ADMIN", "2", "CAP_NET_ADMIN,CAP_SYS_ADMIN", "0x3"], random),
            )
        }
        "sock" | "skb" | "sockaddr" => socket_filter(r#type, random),
        number => number_filter(number, random),
    };
    json!({"index": index, "operator": operator, "values": values})
}

fn socket_filter(r#type: &str, random: &mut Random) -> (&'static str, Vec<String>) {
    let networks = ["10.0.0.0/8", "10.0.0.0/16", "10.0.1.1", "0.0.0.0/0", "2001:db8::/32", "::/0", "127.0.0.1"];
    let networks: Vec<&str> = networks.iter().chain(ADDRESSES).copied().collect();
    let ports = ["22", "80", "443", "0:1023", "1024:65535", "4444"];
    let all: &[(&str, &[&str])] = &[
        ("SAddr", &networks),
        ("NotSAddr", &networks),
        ("SPort", &ports),
        ("NotSPort", &ports),
        ("SPortPriv", &[]),
        ("NotSPortPriv", &[]),
        ("Family", &["AF_INET", "10", "AF_UNIX"]),
        ("DAddr", &networks),
        ("NotDAddr", &networks),
        ("DPort", &ports),
        ("NotDPort", &ports),
        ("DPortPriv", &[]),
        ("NotDPortPriv", &[]),
        ("Protocol", &["IPPROTO_TCP", "UDP", "1", "262"]),
        ("State", &["TCP_SYN_RECV", "1", "LISTEN"]),
    ];
    let count = if r#type == "sockaddr" { 7 } else { all.len() - usize::from(r#type == "skb") };
    let (operator, values) = random.pick(&all[..count]);
    // These words live as long as the program.
    let operator = trilobite_crds::policy::Vocabulary::as_str(
        <trilobite_crds::policy::Operator as trilobite_crds::policy::Vocabulary>::parse(operator).unwrap(),
    );
    (operator, if values.is_empty() { Vec::new() } else { texts(values, random) })
}

fn number_filter(r#type: &str, random: &mut Random) -> (&'static str, Vec<String>) {
    let signed = matches!(r#type, "int" | "int64" | "sint8");
    let mut values = vec!["0", "1", "2", "3", "5", "1:3", "4:100"];
    if signed {
        values.extend(["-1", "-3:2", "-2"]);
    }
    if r#type == "int64" {
        values.extend(["-9223372036854775808", "9223372036854775807"]);
    }
    if r#type == "uint64" {
        values.extend(["18446744073709551615", "0x8000000000000000", "9223372036854775807:9223372036854775809"]);
    }
    let operator =
        *random.pick(&["Equal", "NotEqual", "GT", "LT", "Mask", "InMap", "NotInMap", "InRange", "NotInRange"]);
    let single: Vec<&str> = values.iter().copied().filter(|value| !value.contains(':')).collect();
    match operator {
        "GT" | "LT" => (operator, texts(&single, random)),
        "Mask" => (operator, texts(&["1", "2", "0x10", "0x4", "3"], random)),
        "InMap" | "NotInMap" if random.one_in(3) => {
            (operator, vec![random.pick(&["list:few", "list:calls"]).to_string()])
        }
        _ => (operator, texts(&values, random)),
    }
}

fn texts(from: &[&str], random: &mut Random) -> Vec<String> {
    random.some(from, 3).into_iter().map(str::to_owned).collect()
}

fn binaries(random: &mut Random) -> Value {
    let operator = *random.pick(&["In", "NotIn", "Prefix", "NotPrefix", "Postfix", "NotPostfix"]);
    let is_whole = matches!(operator, "In" | "NotIn");
    let paths: Vec<&str> =
        PATHS.iter().copied().filter(|path| if is_whole { path.starts_with('/') } else { !path.is_empty() }).collect();
    let follows = is_whole && random.one_in(3);
    json!({"operator": operator, "values": texts(&paths, random), "followChildren": follows})
}

fn pids(random: &mut Random) -> Value {
    json!({
        "operator": random.pick(&["In", "NotIn"]),
        "values": random.some(PIDS, 3),
        "isNamespacePID": random.one_in(2),
        "followForks": random.one_in(4),
    })
}

fn process_filter(random: &mut Random) -> (&'static str, Value) {
    let operator = *random.pick(&["In", "NotIn"]);
    let kinds = ["Uts", "Ipc", "Mnt", "Pid", "PidForChildren", "Net", "Time", "TimeForChildren", "Cgroup", "User"];
    let names = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"];
    let capabilities = |random: &mut Random| {
        json!({
            "type": random.pick(&["Effective", "Inheritable", "Permitted"]),
            "operator": operator,
            "isNamespaceCapability": random.one_in(3),
            "values": texts(&names, random),
        })
    };
    match random.below(5) {
        0 => {
            let values = texts(&["host_ns", "4026532000", "0", "4026531837"], random);
            ("matchNamespaces", json!({"namespace": random.pick(&kinds), "operator": operator, "values": values}))
        }
        1 => ("matchNamespaceChanges", json!({"operator": operator, "values": texts(&kinds, random)})),
        2 => ("matchCapabilities", capabilities(random)),
        3 => ("matchCapabilityChanges", capabilities(random)),
        _ => {
            let credential = random.pick(&["uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid", "auid"]);
            let values = texts(&["0", "1000:1999", "33", "4294967295"], random);
            ("matchCredentials", json!({"credential": credential, "operator": operator, "values": values}))
        }
    }
}

fn workloads(random: &mut Random) -> Value {
    let pods = json!({"matchLabels": {"app": random.pick(&["shop", "bank"])}});
    let containers = json!({"matchLabels": {"name": random.pick(&["main", "side"])}});
    random
        .pick(&[
            json!({"podSelector": pods}),
            json!({"containerSelector": containers}),
            json!({"hostSelector": {}}),
            json!({"podSelector": pods, "hostSelector": {}}),
        ])
        .clone()
}

/// Any of the small hooks.
pub(super) fn any_hook(random: &mut Random) -> &'static SmallHook {
    random.pick(HOOKS)
}
