//! Faults by path, in the words that users read.

use super::*;

fn faults_of(yaml: &str, is_namespaced: bool) -> Vec<String> {
    let policy: TracingPolicySpec = serde_yaml::from_str(yaml).unwrap();
    let faults = check(&policy, is_namespaced).err().unwrap_or_default();
    for Fault { field, message, .. } in &faults.listed {
        assert!(message.contains(field.as_str()), "{message} does not name {field}");
    }
    faults.listed.into_iter().map(|fault| fault.message).collect()
}

fn faults(yaml: &str) -> Vec<String> {
    faults_of(yaml, false)
}

/// A kprobe on security_file_open with a file, and one selector.
fn with_selector(selector: &str) -> String {
    format!(
        "{{kprobes: [{{call: security_file_open, syscall: false, args: [{{index: 0, type: file}}], selectors: [{selector}]}}]}}"
    )
}

const FIRST: &str = "spec.kprobes[0].selectors[0]";

#[test]
fn misspelled_words_are_named_with_the_nearest_one() {
    assert_eq!(
        faults(
            "{options: [{name: policy-mdoe, value: monitor}], tracepints: [], kprobes: [{call: fd_install, syscall: false,
            args: [{index: 0, type: integer}, {index: 1, type: fille, lable: x}], selectors: [{matchBinaries:
            [{operator: IsIn, values: [/bin/sh]}], matchPids: [], matchActions: [{action: Sigkil}]}]}]}"
        ),
        [
            "unknown field spec.kprobes[0].args[1].lable; did you mean label?",
            "unknown field spec.kprobes[0].selectors[0].matchPids; did you mean matchPIDs?",
            "unknown field spec.tracepints; did you mean tracepoints?",
            "spec.options[0].name: policy-mdoe is not known; did you mean policy-mode?",
            "spec.kprobes[0].args[0].type: integer is not known; see docs/which-policies-work.md",
            "spec.kprobes[0].args[1].type: fille is not known; did you mean file?",
            "spec.kprobes[0].selectors[0].matchBinaries[0].operator: IsIn is not known; use In, NotIn, Prefix, NotPrefix, Postfix or NotPostfix",
            "spec.kprobes[0].selectors[0].matchActions[0].action: Sigkil is not known; did you mean Sigkill?",
        ]
    );
}

#[test]
fn kubernetes_namespace_in_match_namespaces_is_explained() {
    let selector =
        "{matchNamespaces: [{namespace: Pid, operator: In, values: [payments, host_ns, '4026531836', '-1']}]}";
    let found = faults(&with_selector(selector));
    let text = "is no namespace id; matchNamespaces means Linux namespaces. For a Kubernetes namespace use \
                TracingPolicyNamespaced, or podSelector on k8s:io.kubernetes.pod.namespace";
    assert_eq!(
        found,
        [
            format!("{FIRST}.matchNamespaces[0].values[0]: payments {text}"),
            format!("{FIRST}.matchNamespaces[0].values[3]: -1 {text}")
        ]
    );
    assert!(found[0].len() <= crate::condition::MAX_MESSAGE);
}

#[test]
fn operator_without_meaning_names_those_that_have_one() {
    let filter = |operator: &str, r#type: &str| {
        faults(&format!(
            "{{kprobes: [{{call: f, syscall: false, args: [{{index: 2, type: {type}}}], selectors: [{{matchArgs: [{{index: 2,
            operator: {operator}, values: ['1']}}]}}]}}]}}"
        ))
    };
    let path = format!("{FIRST}.matchArgs[0].operator");
    assert_eq!(
        filter("Mask", "file"),
        [format!("{path}: Mask is for numbers, args[0] is a file; use Equal, Prefix, Postfix or SubString")]
    );
    assert_eq!(
        filter("Prefix", "int"),
        [format!("{path}: Prefix is for text and paths, args[0] is an int; use Equal, GT, LT, Mask, InMap or InRange")]
    );
    assert_eq!(
        filter("State", "skb"),
        [format!("{path}: State is for sockets, args[0] is a skb; use SAddr, SPort, Family, DAddr, DPort or Protocol")]
    );
    assert_eq!(
        filter("Equal", "cred"),
        [format!(
            "{path}: Equal is for numbers, text and capability sets, args[0] is a cred, which can be shown but not compared; remove the filter"
        )]
    );
    assert_eq!(
        filter("In", "int"),
        [format!(
            "{path}: In is for facts about the process, args[0] is an int; use Equal, GT, LT, Mask, InMap or InRange"
        )]
    );
    assert_eq!(filter("CelExpr", "int"), [format!("{path}: CelExpr is not supported yet; use other operators")]);
}

#[test]
fn later_features_are_not_supported_yet() {
    let hook = "[{path: /bin/sh, symbols: [main]}]";
    assert_eq!(
        faults(&format!(
            "{{uprobes: {hook}, usdts: [{{path: /bin/sh, provider: p, name: n}}], lsmhooks: [{{hook: file_open}}], loader: true,
            enforcers: [{{calls: [sys_dup]}}], rollout: {{}}}}"
        )),
        [
            "spec.rollout is not supported yet; remove it",
            "spec.uprobes is not supported yet; remove it",
            "spec.usdts is not supported yet; remove it",
            "spec.lsmhooks is not supported yet; remove it",
            "spec.loader is not supported yet; remove it",
            "spec.enforcers is not supported yet; remove it",
        ]
    );
    let actions = |actions: &str| faults(&with_selector(&format!("{{matchActions: [{actions}]}}")));
    assert_eq!(
        actions(
            "{action: Override, argError: -1}, {action: Post, imaHash: true}, {action: geturl, argUrl: 'http://x'}"
        ),
        [
            format!("{FIRST}.matchActions[0].action: Override is not supported yet; use Sigkill, or remove it"),
            format!("{FIRST}.matchActions[1].imaHash is not supported yet; remove it"),
            format!("{FIRST}.matchActions[2].action: GetUrl is not supported yet; remove it"),
        ]
    );
    for action in ["NotifyEnforcer", "CleanupEnforcerNotification", "DnsLookup", "Set"] {
        let path = format!("{FIRST}.matchActions[0].action");
        assert_eq!(
            actions(&format!("{{action: {action}}}")),
            [format!("{path}: {action} is not supported yet; remove it")]
        );
    }
    assert_eq!(actions("{action: FollowFD, argFd: 1, argName: 2}"), [""; 0], "they do nothing");
}

#[test]
fn values_must_fit_the_type() {
    let filter = |r#type: &str, operator: &str, value: &str| {
        let found = faults(&format!(
            "{{kprobes: [{{call: f, syscall: false, args: [{{index: 0, type: {type}}}], selectors: [{{matchArgs: [{{index: 0,
            operator: {operator}, values: ['{value}']}}]}}]}}]}}"
        ));
        found.first().map(|text| text.replace(&format!("{FIRST}.matchArgs[0].values[0]: "), ""))
    };
    for (r#type, operator, good, bad) in [
        ("int", "Equal", "-1", "0x80000000"),
        ("uint8", "Equal", "255", "256"),
        ("int", "Mask", "0x80000000", "0x1ffffffff"),
        ("int", "GT", "5", "1:5"),
        ("uint64", "InRange", "0:18446744073709551615", "-1:1"),
        ("int16", "InMap", "-32768:32767", "list"),
        ("file", "Prefix", "/etc", ""),
        ("file", "FileType", "reg", "file"),
        ("sock", "DAddr", "10.0.0.0/8", "10.0.0.0/99"),
        ("sock", "SPort", "1024:2048", "70000"),
        ("sock", "Protocol", "IPPROTO_TCP", "TPC"),
        ("sockaddr", "Family", "AF_INET", "AF_WRONG"),
        ("sock", "State", "TCP_LISTEN", "LISTENING"),
        ("cap_effective", "Equal", "CAP_BPF,CAP_PERFMON", "CAP_BPFF"),
    ] {
        assert_eq!(filter(r#type, operator, good), None, "{type} {operator} {good}");
        let message = filter(r#type, operator, bad).unwrap_or_else(|| panic!("{type} {operator} {bad} is accepted"));
        assert!(message.contains("must be"), "{message}");
    }
    assert_eq!(filter("uint8", "Equal", "300"), Some("300 must be from 0 to 255, as the value has 8 bits".into()));
    assert_eq!(
        filter("sock", "SPortPriv", "1"),
        Some(format!("{FIRST}.matchArgs[0].values: SPortPriv takes no values; remove them"))
    );
}

#[test]
fn arguments_are_checked_against_their_place() {
    assert_eq!(
        faults(
            "{kprobes: [{call: tcp_connect, return: true, args: [{index: 6, type: sock}, {index: 0}, {index: 1, type: syscall64},
            {index: 2, type: char_buf}, {index: 3, type: int, resolve: a..b}, {index: 4, type: int, source: current_task},
            {index: 5, type: int, maxData: true, btfTypeModule: x}]}], tracepoints: [{subsystem: a, event: b,
            args: [{index: 60, resolve: x}, {index: 5, type: data_loc}]}]}"
        ),
        [
            "spec.kprobes[0].syscall: tcp_connect is no system call, whose names begin with sys_; set syscall: false",
            "spec.kprobes[0].returnArg: must be set where return is true, e.g. {index: 0, type: int}",
            "spec.kprobes[0].args[0].index: 6 must be at most 5",
            "spec.kprobes[0].args[1].type: must be set, e.g. to int, string, file or sock; auto is for tracepoints",
            "spec.kprobes[0].args[2].type: syscall64 is for tracepoints; use int64",
            "spec.kprobes[0].args[3].sizeArgIndex: must be the number of the argument, from 1, that has the size of the char_buf",
            "spec.kprobes[0].args[4].resolve: a..b must be names between dots, e.g. mm.owner.comm or fds[3].file",
            "spec.kprobes[0].args[5].resolve: must be set where source is set, e.g. cred.uid.val",
            "spec.kprobes[0].args[6].btfTypeModule: needs resolve; set it, or remove this",
            "spec.kprobes[0].args[6].maxData: is for buffers such as char_buf, this is an int; remove it",
            "spec.tracepoints[0].args[0].resolve: a field of a trace record has no members; set raw: true, or remove it",
        ]
    );
}

#[test]
fn members_are_named_between_dots() {
    let resolve = |path: &str| {
        faults(&format!(
            "{{kprobes: [{{call: f, syscall: false, args: [{{index: 0, type: int, resolve: '{path}'}}]}}]}}"
        ))
    };
    for good in ["a", "a.b_c.d1", "a[0].b", "a[1][2]", "[3]", "mm.owner.real_parent.comm"] {
        assert_eq!(resolve(good), [""; 0], "{good}");
    }
    for bad in [".", "a.", ".a", "a b", "1a", "a[", "a[]", "a[x]", "a]", "a[1]b", "a.b.c.d.e.f.g.h.i.j.k"] {
        assert_eq!(resolve(bad).len(), 1, "{bad}");
    }
}

#[test]
fn filters_name_values_that_the_hook_reads() {
    let found = faults(&with_selector(
        "{matchArgs: [{index: 1, operator: Equal, values: [x]}, {args: [1], operator: Equal, values: [x]}],
        matchData: [{index: 0, operator: Equal, values: [x]}], matchReturnArgs: [{index: 0, operator: Equal, values: ['1']}],
        matchReturnActions: [{action: Post}]}",
    ));
    assert_eq!(
        found,
        [
            format!("{FIRST}.matchArgs[0].index: the hook has no value with index 1 in args; add it there"),
            format!("{FIRST}.matchArgs[1].args[0]: the hook has no value at position 1 in args; add it there"),
            format!("{FIRST}.matchData[0].index: the hook has no value at position 0 in data; add it there"),
            format!("{FIRST}.matchReturnArgs: needs return: true and returnArg of the hook; set them"),
            format!("{FIRST}.matchReturnActions: needs return: true and returnArg of the hook; set them"),
        ]
    );
}

#[test]
fn process_filters_are_checked() {
    let found = faults(&with_selector(
        "{matchPIDs: [{operator: Prefix, values: []}], matchBinaries: [{operator: In, values: [curl, '']},
        {operator: Postfix, values: [curl], followChildren: true}], matchCapabilities: [{operator: In, values: [CAP_SYS_ADMN]}],
        matchNamespaceChanges: [{operator: In, values: [Mntt]}], matchCredentials: [{credential: uuid, operator: In,
        values: [root]}], matchWorkloads: {containerSelector: {matchLabels: {app: x}}, hostSelector: {matchLabels: {a: b}}}}",
    ));
    assert_eq!(
        found,
        [
            format!("{FIRST}.matchPIDs[0].operator: Prefix has no meaning here; use In or NotIn"),
            format!("{FIRST}.matchPIDs[0].values: must have at least 1 item"),
            format!(
                "{FIRST}.matchBinaries[0].values[0]: curl must be a whole path, e.g. /usr/bin/curl; or use Postfix"
            ),
            format!("{FIRST}.matchBinaries[0].values[1]: must not be empty"),
            format!("{FIRST}.matchBinaries[1].followChildren: is for In and NotIn; use one of them, or remove it"),
            format!("{FIRST}.matchNamespaceChanges[0].values[0]: Mntt is not known; did you mean Mnt?"),
            format!(
                "{FIRST}.matchCapabilities[0].values[0]: CAP_SYS_ADMN is no capability; did you mean CAP_SYS_ADMIN?"
            ),
            format!("{FIRST}.matchCredentials[0].credential: uuid is not known; did you mean uid?"),
            format!(
                "{FIRST}.matchCredentials[0].values[0]: root must be an id from 0 to 4294967295, or a range such as 1000:1999"
            ),
            format!(
                "{FIRST}.matchWorkloads.containerSelector.matchLabels.app: containers are selected by name and repo"
            ),
            format!("{FIRST}.matchWorkloads.hostSelector: must be {{}}, which selects the processes outside any pod"),
        ]
    );
}

#[test]
fn parameters_belong_to_their_actions() {
    let actions = |actions: &str| faults(&with_selector(&format!("{{matchActions: [{actions}]}}")));
    assert_eq!(
        actions(
            "{action: Sigkill, rateLimit: 5s}, {action: Post, rateLimit: soon, rateLimitScope: host}, {action: Signal}, {action: TrackSock}"
        ),
        [
            format!("{FIRST}.matchActions: must have at most 3 items, has 4"),
            format!("{FIRST}.matchActions[0].rateLimit: is for Post, this is Sigkill; remove it"),
            format!("{FIRST}.matchActions[1].rateLimit: soon must be a number of seconds, e.g. 5s, 1m or 2h"),
            format!("{FIRST}.matchActions[1].rateLimitScope: host is not known; use thread, process or global"),
            format!("{FIRST}.matchActions[2].argSig: 0 must be the number of a signal, from 1 to 64"),
            format!("{FIRST}.matchActions[3].argSock: argument 0 must be in args, with the type sock, socket or skb"),
        ]
    );
    assert_eq!(
        actions("{action: Post}, {action: NoPost}"),
        [format!("{FIRST}.matchActions: Post and NoPost contradict each other; remove one")]
    );
    assert_eq!(
        actions("{action: Post, rateLimitScope: global}"),
        [format!("{FIRST}.matchActions[0].rateLimitScope: needs rateLimit; set it, or remove this")]
    );
}

#[test]
fn lists_are_named_and_numeric() {
    assert_eq!(
        faults(
            "{lists: [{name: a, values: [sys_dup]}, {name: a, type: syscalls, values: [sys_dup]}, {name: b, type: generated_ftrace},
            {name: c, type: generated_syscalls, values: [x]}, {name: d}, {name: e, type: calls, values: [x]}],
            kprobes: [{call: 'list:aa'}, {call: 'list:c'}], tracepoints: [{subsystem: raw_syscalls, event: sys_enter,
            args: [{index: 4, type: uint64}], selectors: [{matchArgs: [{index: 4, operator: InMap, values: ['list:a', 'list:c', 'list:zz', '5']}]}]}]}"
        ),
        [
            "spec.lists[1].name: a is the name of an earlier list",
            "spec.lists[2].pattern: must be set for generated_ftrace, e.g. ^ksys_*",
            "spec.lists[3].values: each node fills a generated list; remove them",
            "spec.lists[4].values: must have at least 1 item",
            "spec.lists[5].type: calls is not known; use syscalls, generated_syscalls or generated_ftrace",
            "spec.kprobes[0].call: spec.lists has no list aa; did you mean a?",
            "spec.tracepoints[0].selectors[0].matchArgs[0].values[0]: list a has names of functions, which are no numbers; set its type to syscalls",
            "spec.tracepoints[0].selectors[0].matchArgs[0].values[2]: spec.lists has no list zz; add it, or correct the name",
        ]
    );
}

#[test]
fn macros_are_expanded_and_checked_in_their_hook() {
    let hook = |macros: &str| {
        format!(
            "{{kprobes: [{{call: f, syscall: false, args: [{{index: 0, type: file}}], selectors: [{{macros: [{macros}],
            matchArgs: [{{index: 0, operator: Equal, values: [/a]}}]}}]}}], selectorsMacros: {{shells: {{matchBinaries: [{{operator: In,
            values: [/bin/sh]}}]}}, masks: {{matchArgs: [{{index: 0, operator: Mask, values: ['1']}}]}}, nested: {{macros: [shells]}}}}}}"
        )
    };
    assert_eq!(
        faults(&hook("masks, nested, shels")),
        [
            "spec.selectorsMacros.masks.matchArgs[0].operator: Mask is for numbers, args[0] is a file; use Equal, Prefix, Postfix or SubString",
            "spec.selectorsMacros.nested.macros: a macro cannot name others; write their filters here",
            "spec.kprobes[0].selectors[0].macros[2]: spec.selectorsMacros has no shels; did you mean shells?",
        ]
    );
    let policy: TracingPolicySpec = serde_yaml::from_str(&hook("shells")).unwrap();
    let checked = check(&policy, false).unwrap();
    let selector = &checked.kprobes[0].selectors[0];
    assert_eq!((selector.match_args.len(), selector.match_binaries.len(), selector.macros.len()), (1, 1, 0));
    assert!(checked.selectors_macros.is_empty());
    assert_eq!(check(&checked, false), Ok(checked.clone()), "a checked policy stays as it is");
}

#[test]
fn namespaced_policy_cannot_select_the_host() {
    let policy = "{hostSelector: {}, tracepoints: [{subsystem: sched, event: sched_switch}]}";
    assert_eq!(faults(policy), [""; 0]);
    let refused = "spec.hostSelector: a namespaced policy cannot select the host; use TracingPolicy, or remove it";
    assert_eq!(faults_of(policy, true), [refused]);
}

#[test]
fn options_have_values_of_their_own() {
    let options =
        |options: &str| faults(&format!("{{options: [{options}], tracepoints: [{{subsystem: a, event: b}}]}}"));
    assert_eq!(options("{name: policy-mode, value: monitor}, {name: disable-kprobe-multi, value: '1'}"), [""; 0]);
    assert_eq!(
        options(
            "{name: policy-mode, value: dry}, {name: override-method}, {name: disable-uprobe-multi, value: no}, {name: sleepable-preload-size, value: big}"
        ),
        [
            "spec.options[0].value: dry must be enforce or monitor",
            "spec.options[1].value: \"\" must be fmod-ret or override-return",
            "spec.options[2].value: no must be true or false",
            "spec.options[3].value: big must be a number",
        ]
    );
    assert_eq!(
        options("{name: policy-mode, value: monitor}, {name: policy-mode, value: enforce}"),
        ["spec.options[0]: policy-mode is set twice, to different values; remove one"]
    );
}

#[test]
fn policy_of_nothing_is_refused() {
    assert_eq!(faults("{}"), ["spec: the policy requests nothing; set kprobes, fentries or tracepoints"]);
}
