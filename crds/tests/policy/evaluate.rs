//! What the evaluator says of calls made by hand: each operator once where it must match and once where it must not.

use trilobite_crds::policy::{
    ActionKind, NamespaceKind, Vocabulary,
    evaluate::{
        Ancestor, Call, CallSocket, CallValue, CallingProcess, CapabilitySets, CredentialIds, NamespaceIds, Outcome,
        Workload, evaluate,
    },
};

use super::checked;

fn text(text: &str) -> CallValue {
    CallValue::Text(text.into())
}

fn file(path: &str, mode: u32) -> CallValue {
    CallValue::File { path: path.into(), mode }
}

fn connection() -> CallSocket {
    CallSocket {
        family: Some(2),
        protocol: Some(6),
        state: Some(2),
        saddr: Some("10.0.0.2".parse().unwrap()),
        daddr: Some("1.1.1.1".parse().unwrap()),
        sport: Some(40_000),
        dport: Some(443),
        path: None,
    }
}

fn process() -> CallingProcess {
    let ancestor = |pid, binary: &str| Ancestor { pid, namespace_pid: pid - 100, binary: binary.into() };
    CallingProcess {
        pid: 1300,
        namespace_pid: 30,
        binary: "/usr/bin/curl".into(),
        ancestors: vec![ancestor(1200, "/bin/sh"), ancestor(1100, "/usr/sbin/sshd")],
        namespaces: NamespaceIds([7; 10]),
        namespaces_at_exec: NamespaceIds([7; 10]),
        host_namespaces: NamespaceIds([1, 7, 7, 1, 1, 1, 7, 7, 1, 7]),
        capabilities: CapabilitySets { effective: 1 << 21, inheritable: 0, permitted: 1 << 21 | 1 << 12 },
        capabilities_at_exec: CapabilitySets {
            effective: 1 << 21 | 1 << 12,
            inheritable: 0,
            permitted: 1 << 21 | 1 << 12,
        },
        credentials: CredentialIds([1000, 0, 0, 0, 100, 100, 100, 100, u32::MAX]),
        workload: Workload::Container {
            namespace: "shop".into(),
            labels: [("app".to_owned(), "till".to_owned())].into(),
            container: "main".into(),
            repo: "docker.io/library/nginx".into(),
        },
    }
}

/// The selector that matches a call of a kprobe with these arguments.
fn winner(args: &str, selectors: &str, call: &Call) -> Option<usize> {
    let policy = checked(&format!(
        "{{kprobes: [{{call: f, syscall: false, args: {args}, data: [{{type: uint32, source: current_task, resolve: cred.uid.val}}],
        selectors: [{selectors}]}}], lists: [{{name: few, values: ['3', '8:9']}}]}}"
    ));
    let (_, hook) = policy.hooks().next().unwrap();
    evaluate(hook, &policy.lists, call).entry.map(|winner| winner.selector)
}

/// Whether one filter on an argument of a type matches a value.
fn value_matches(r#type: &str, value: CallValue, operator: &str, values: &str) -> bool {
    let filter = format!("{{matchArgs: [{{index: 0, operator: {operator}, values: {values}}}]}}");
    let call = Call { args: vec![value], data: vec![CallValue::Number(1000)], ..Call::default() };
    winner(&format!("[{{index: 0, type: {type}}}]"), &filter, &call).is_some()
}

fn process_matches(filter: &str) -> bool {
    winner("[]", &format!("{{{filter}}}"), &Call { process: process(), ..Call::default() }).is_some()
}

#[test]
fn operators_on_values_match_and_do_not() {
    let number = CallValue::Number;
    let socket = |change: fn(&mut CallSocket)| {
        let mut socket = connection();
        change(&mut socket);
        CallValue::Socket(socket)
    };
    let same = |_: &mut CallSocket| {};
    let other = |socket: &mut CallSocket| {
        socket.daddr = Some("::1".parse().unwrap());
        (socket.sport, socket.dport, socket.protocol, socket.state, socket.family) =
            (Some(22), Some(8080), Some(17), Some(10), Some(10));
        socket.saddr = Some("192.168.0.1".parse().unwrap());
    };
    // Type, operator, values, a value that matches, one that does not.
    let cases: Vec<(&str, &str, &str, CallValue, CallValue)> = vec![
        ("int", "Equal", "['-1', '0x10']", number(16), number(17)),
        ("int", "NotEqual", "['-1', '0x10']", number(17), number(-1)),
        ("int", "GT", "['5']", number(6), number(5)),
        ("int", "LT", "['5']", number(4), number(5)),
        ("int", "Mask", "['6']", number(4), number(8)),
        ("int", "Mask", "['0x80000000']", number(-1), number(1)),
        ("int", "InRange", "['-5:5', '9:9']", number(-5), number(6)),
        ("int", "NotInRange", "['-5:5', '9:9']", number(8), number(9)),
        ("uint64", "InMap", "['list:few', '18446744073709551615']", number(9), number(4)),
        ("uint64", "InMap", "['list:few', '18446744073709551615']", number(u64::MAX.into()), number(10)),
        ("uint64", "NotInMap", "['list:few']", number(4), number(3)),
        ("string", "Equal", "['ab', '']", text(""), text("a")),
        ("string", "NotEqual", "['ab']", text("a"), text("ab")),
        ("string", "Prefix", "['/etc/', '/usr']", text("/usr"), text("/us")),
        ("string", "NotPrefix", "['/etc/', '/usr']", text("/us"), text("/etc/passwd")),
        ("string", "Postfix", "['.pem', 'key']", text("a.pem"), text(".pe")),
        ("string", "NotPostfix", "['.pem', 'key']", text(""), text("id.key")),
        ("string", "SubString", "['hado']", text("/etc/shadow"), text("/etc/SHADOW")),
        ("string", "SubStringIgnCase", "['hAdO']", text("/etc/sHaDow"), text("had")),
        ("file", "Prefix", "['/etc']", file("/etc/x", 0), file("/var", 0)),
        ("file", "FileType", "[reg, dir]", file("/", 0o040_755), file("/dev/null", 0o020_666)),
        ("file", "NotFileType", "[reg, dir]", file("/dev/null", 0o020_666), file("/a", 0o100_644)),
        ("sock", "SAddr", "[10.0.0.0/8]", socket(same), socket(other)),
        ("sock", "NotSAddr", "[10.0.0.0/8]", socket(other), socket(same)),
        ("sock", "DAddr", "[1.1.1.1, 'fd00::/8']", socket(same), socket(other)),
        ("sock", "NotDAddr", "[1.1.1.1, 'fd00::/8']", socket(other), socket(same)),
        ("sock", "SPort", "['40000:50000']", socket(same), socket(other)),
        ("sock", "NotSPort", "['40000:50000']", socket(other), socket(same)),
        ("sock", "DPort", "['443', '80']", socket(same), socket(other)),
        ("sock", "NotDPort", "['443', '80']", socket(other), socket(same)),
        ("sock", "SPortPriv", "[]", socket(other), socket(same)),
        ("sock", "NotSPortPriv", "[]", socket(same), socket(other)),
        ("sock", "DPortPriv", "[]", socket(same), socket(other)),
        ("sock", "NotDPortPriv", "[]", socket(other), socket(same)),
        ("sock", "Protocol", "[IPPROTO_TCP]", socket(same), socket(other)),
        ("sock", "Family", "[AF_INET]", socket(same), socket(other)),
        ("sock", "State", "[TCP_SYN_SENT]", socket(same), socket(other)),
        ("sockaddr_un", "Prefix", "['/run']", socket(|socket| socket.path = Some("/run/x".into())), socket(same)),
        ("cap_effective", "Equal", "[CAP_BPF]", CallValue::Capabilities(1 << 39), CallValue::Capabilities(3 << 38)),
        ("cap_effective", "Mask", "['CAP_BPF,CAP_KILL']", CallValue::Capabilities(3 << 38), CallValue::Capabilities(1)),
    ];
    for (r#type, operator, values, matching, other) in cases {
        assert!(value_matches(r#type, matching.clone(), operator, values), "{operator} {values} on {matching:?}");
        assert!(!value_matches(r#type, other.clone(), operator, values), "{operator} {values} on {other:?}");
    }
}

#[test]
fn unreadable_value_is_none_of_the_listed() {
    for (r#type, operator, expected) in [
        ("int", "Equal", false),
        ("int", "NotEqual", true),
        ("int", "Mask", false),
        ("int", "NotInRange", true),
        ("string", "Prefix", false),
        ("string", "NotPostfix", true),
    ] {
        assert_eq!(value_matches(r#type, CallValue::Unreadable, operator, "['1']"), expected, "{operator}");
    }
    // An address that a socket does not have is like one that cannot be read.
    let unix = CallValue::Socket(CallSocket { family: Some(1), ..CallSocket::default() });
    assert!(!value_matches("sock", unix.clone(), "DAddr", "[0.0.0.0/0]"));
    assert!(value_matches("sock", unix, "NotDAddr", "[0.0.0.0/0]"));
}

#[test]
fn capabilities_gained_compares_two_arguments() {
    let matches = |new, old| {
        let args = "[{index: 1, type: cap_effective}, {index: 2, type: cap_effective}]";
        let filter = "{matchArgs: [{operator: CapabilitiesGained, args: [0, 1]}]}";
        let call = Call { args: vec![CallValue::Capabilities(new), CallValue::Capabilities(old)], ..Call::default() };
        winner(args, filter, &call).is_some()
    };
    assert!(matches(0b11, 0b01) && !matches(0b01, 0b11) && !matches(0b01, 0b01));
}

#[test]
fn filters_on_the_process_match_and_do_not() {
    for (filter, expected) in [
        ("matchPIDs: [{operator: In, values: [1, 1300]}]", true),
        ("matchPIDs: [{operator: In, values: [1, 2, 3, 4, 5, 1300]}]", true),
        ("matchPIDs: [{operator: NotIn, values: [0]}, {operator: NotIn, values: [1]}]", true),
        ("matchPIDs: [{operator: In, values: [1300]}, {operator: NotIn, values: [1300]}]", false),
        ("matchPIDs: [{operator: In, values: [1100]}]", false),
        ("matchPIDs: [{operator: In, values: [1100], followForks: true}]", true),
        ("matchPIDs: [{operator: NotIn, values: [1100], followForks: true}]", false),
        ("matchPIDs: [{operator: In, values: [30], isNamespacePID: true}]", true),
        ("matchPIDs: [{operator: In, values: [1000], isNamespacePID: true, followForks: true}]", true),
        ("matchBinaries: [{operator: In, values: [/usr/bin/curl, /usr/bin/wget]}]", true),
        ("matchBinaries: [{operator: NotIn, values: [/usr/bin/curl]}]", false),
        ("matchBinaries: [{operator: Prefix, values: [/usr/]}, {operator: NotPostfix, values: [wget]}]", true),
        ("matchBinaries: [{operator: In, values: [/usr/sbin/sshd]}]", false),
        ("matchBinaries: [{operator: In, values: [/usr/sbin/sshd], followChildren: true}]", true),
        ("matchBinaries: [{operator: NotIn, values: [/bin/sh], followChildren: true}]", false),
        ("matchParentBinaries: [{operator: In, values: [/bin/sh]}]", true),
        ("matchParentBinaries: [{operator: In, values: [/usr/bin/curl]}]", false),
        ("matchParentBinaries: [{operator: In, values: [/usr/sbin/sshd], followChildren: true}]", true),
        ("matchNamespaces: [{namespace: Ipc, operator: In, values: [host_ns]}]", true),
        ("matchNamespaces: [{namespace: Uts, operator: In, values: [host_ns, '7']}]", true),
        ("matchNamespaces: [{namespace: Uts, operator: NotIn, values: [host_ns]}]", true),
        ("matchNamespaces: [{namespace: Uts, operator: In, values: ['8']}]", false),
        ("matchCapabilities: [{type: Effective, operator: In, values: [CAP_SYS_ADMIN]}]", true),
        ("matchCapabilities: [{operator: In, values: [CAP_NET_ADMIN]}]", false),
        ("matchCapabilities: [{operator: NotIn, values: [CAP_NET_ADMIN]}]", true),
        ("matchCapabilities: [{type: Permitted, operator: In, values: [CAP_NET_ADMIN]}]", true),
        ("matchCapabilities: [{operator: In, values: [CAP_SYS_ADMIN], isNamespaceCapability: true}]", false),
        ("matchCapabilityChanges: [{operator: In, values: [CAP_NET_ADMIN]}]", true),
        ("matchCapabilityChanges: [{operator: In, values: [CAP_SYS_ADMIN]}]", false),
        ("matchCapabilityChanges: [{operator: NotIn, values: [CAP_SYS_ADMIN]}]", true),
        ("matchCapabilityChanges: [{operator: NotIn, values: [CAP_NET_ADMIN]}]", false),
        ("matchCapabilityChanges: [{type: Permitted, operator: NotIn, values: [CAP_BPF]}]", false),
        ("matchCredentials: [{credential: uid, operator: In, values: ['1000:1999']}]", true),
        (
            "matchCredentials: [{credential: uid, operator: In, values: ['0']}, {credential: euid, operator: In, values: ['0']}]",
            false,
        ),
        (
            "matchCredentials: [{credential: euid, operator: In, values: ['0']}, {credential: auid, operator: In, values: ['4294967295']}]",
            true,
        ),
        ("matchWorkloads: {podSelector: {matchLabels: {app: till}}}", true),
        ("matchWorkloads: {podSelector: {matchLabels: {app: shelf}}}", false),
        ("matchWorkloads: {containerSelector: {matchLabels: {name: main, repo: nginx}}}", true),
        ("matchWorkloads: {hostSelector: {}}", false),
        ("matchWorkloads: {podSelector: {}, hostSelector: {}}", true),
        ("matchData: [{index: 0, operator: Equal, values: ['1000']}]", false),
    ] {
        assert_eq!(process_matches(filter), expected, "{filter}");
    }
}

#[test]
fn changed_namespace_is_found_among_those_listed() {
    let matches = |filter: &str| {
        let mut process = process();
        process.namespaces.0[NamespaceKind::Net as usize] = 8;
        let filter = format!("{{matchNamespaceChanges: [{filter}]}}");
        winner("[]", &filter, &Call { process, ..Call::default() }).is_some()
    };
    assert!(matches("{operator: In, values: [Mnt, Net]}") && !matches("{operator: In, values: [Mnt]}"));
    assert!(matches("{operator: NotIn, values: [Mnt]}") && !matches("{operator: NotIn, values: [Net]}"));
}

#[test]
fn first_matching_selector_wins() {
    let selector = |pid: u32, action: &str| {
        format!("{{matchPIDs: [{{operator: In, values: [{pid}]}}], matchActions: [{{action: {action}}}]}}")
    };
    let call = Call { process: process(), ..Call::default() };
    let selectors = [selector(1, "Post"), selector(1300, "Sigkill"), selector(1300, "NoPost")].join(", ");
    assert_eq!(winner("[]", &selectors, &call), Some(1));
    let policy = checked(&format!("{{tracepoints: [{{subsystem: a, event: b, selectors: [{selectors}]}}]}}"));
    let (_, hook) = policy.hooks().next().unwrap();
    let Outcome { entry, at_return } = evaluate(hook, &[], &call);
    assert_eq!(entry.unwrap().actions[0].signal(), Some(9));
    assert_eq!(at_return, None);
}

#[test]
fn hook_without_selectors_posts_every_call() {
    let policy = checked("{tracepoints: [{subsystem: a, event: b}]}");
    let (_, hook) = policy.hooks().next().unwrap();
    let entry = evaluate(hook, &[], &Call::default()).entry.unwrap();
    assert_eq!((entry.selector, entry.actions[0].action.known()), (0, Some(ActionKind::Post)));
}

#[test]
fn index_of_no_argument_of_a_tracepoint_is_a_position() {
    let selectors =
        "{matchArgs: [{index: 0, operator: Equal, values: ['32']}, {index: 5, operator: Equal, values: ['7']}]}";
    let arguments = "[{index: 4, type: uint64}, {index: 5, type: uint64}]";
    let policy =
        checked(&format!("{{tracepoints: [{{subsystem: a, event: b, args: {arguments}, selectors: [{selectors}]}}]}}"));
    let (_, hook) = policy.hooks().next().unwrap();
    let call =
        |first, second| Call { args: vec![CallValue::Number(first), CallValue::Number(second)], ..Call::default() };
    assert!(evaluate(hook, &[], &call(32, 7)).entry.is_some());
    assert!(evaluate(hook, &[], &call(33, 7)).entry.is_none());
    assert!(evaluate(hook, &[], &call(32, 8)).entry.is_none());
}

#[test]
fn returned_value_decides_at_the_return() {
    let policy = checked(
        "{kprobes: [{call: sys_openat, return: true, returnArg: {index: 0, type: int}, args: [{index: 1, type: string}], selectors: [
        {matchArgs: [{index: 1, operator: Prefix, values: [/etc]}], matchReturnArgs: [{index: 0, operator: LT, values: ['0']}],
        matchReturnActions: [{action: NoPost}]},
        {matchArgs: [{index: 1, operator: Prefix, values: [/]}], matchActions: [{action: Signal, argSig: 15}]}]}]}",
    );
    let (_, hook) = policy.hooks().next().unwrap();
    let outcome = |path: &str, returned: Option<i128>| {
        let call = Call { args: vec![text(path)], returned: returned.map(CallValue::Number), ..Call::default() };
        let Outcome { entry, at_return } = evaluate(hook, &[], &call);
        (entry.map(|winner| winner.selector), at_return.map(|winner| winner.selector))
    };
    assert_eq!(outcome("/etc/shadow", None), (Some(0), None));
    assert_eq!(outcome("/etc/shadow", Some(-13)), (Some(0), Some(0)));
    assert_eq!(outcome("/etc/shadow", Some(3)), (Some(0), Some(1)));
    assert_eq!(outcome("/home", Some(-2)), (Some(1), Some(1)));
    assert_eq!(outcome("relative", Some(3)), (None, None));
}

#[test]
fn event_of_the_return_is_as_match_actions_say() {
    let at_return = |actions: &str, return_actions: &str| {
        let policy = checked(&format!(
            "{{kprobes: [{{call: sys_openat, return: true, returnArg: {{index: 0, type: int}}, selectors: [{{matchActions: {actions}, matchReturnActions: {return_actions}}}]}}]}}"
        ));
        let (_, hook) = policy.hooks().next().unwrap();
        let call = Call { returned: Some(CallValue::Number(3)), ..Call::default() };
        let winner = evaluate(hook, &[], &call).at_return.unwrap();
        winner.actions.iter().map(|action| action.action.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(at_return("[{action: NoPost}]", "[]"), ["NoPost"]);
    assert_eq!(at_return("[{action: Sigkill}, {action: Post, rateLimit: 5s}]", "[]"), ["Post"]);
    assert_eq!(at_return("[{action: NoPost}]", "[{action: Post}]"), ["Post"]);
    assert_eq!(at_return("[{action: NoPost}]", "[{action: Sigkill}]"), ["Sigkill", "NoPost"]);
    assert_eq!(at_return("[{action: Sigkill}]", "[]"), ["Post"]);
}

#[test]
fn executed_file_is_a_binary_before_the_exec() {
    let winner = |call: &str, operator: &str, executed: &[&str]| {
        let policy = checked(&format!(
            "{{kprobes: [{{call: {call}, syscall: false, selectors: [{{matchBinaries: [{{operator: {operator}, values: [/usr/bin/python3]}}]}}]}}]}}"
        ));
        let (_, hook) = policy.hooks().next().unwrap();
        let executed_file = executed.iter().map(|name| name.as_bytes().to_vec()).collect();
        evaluate(hook, &[], &Call { process: process(), executed_file, ..Call::default() }).entry.is_some()
    };
    // A symlink: the path of the file, and the name that was called.
    let names = ["/usr/bin/python3.13", "/usr/bin/python3"];
    assert!(winner("security_bprm_check", "In", &names));
    assert!(!winner("security_bprm_check", "In", &["/usr/bin/cat"]));
    assert!(winner("security_bprm_check", "NotIn", &names), "the negative one means the caller alone");
    assert!(!winner("security_file_open", "In", &names));
}

#[test]
fn namespaces_are_in_the_order_of_their_words() {
    let ids = NamespaceIds([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (position, kind) in NamespaceKind::ALL.iter().enumerate() {
        assert_eq!(ids.id(*kind) as usize, position);
    }
}
