//! Random policies: no stage panics, every fault names a path, and a checked policy stays as it is.

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use trilobite_crds::{
    Inputs, ObservabilityStack, TracingPolicy,
    condition::MAX_MESSAGE,
    plan,
    policy::{
        ArgumentType, Operator, TracingPolicySpec, Vocabulary,
        check::check,
        evaluate::{Call, CallSocket, CallValue, evaluate},
    },
};

use super::examples::{Example, examples};

static EXAMPLES: LazyLock<Vec<Example>> = LazyLock::new(examples);

fn any_word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![8 => select(words).prop_map(str::to_owned), 1 => "[ -~]{0,8}", 1 => "\\PC{0,6}"]
}

fn any_operator() -> impl Strategy<Value = String> {
    let known = select(Operator::ALL).prop_map(|operator| operator.as_str().to_owned());
    prop_oneof![9 => known, 1 => any_word(&["eq", "Equl", ""])]
}

fn any_text() -> impl Strategy<Value = String> {
    any_word(&[
        "0",
        "-1",
        "0xff",
        "1:8",
        "8:1",
        "18446744073709551615",
        "/etc/",
        "/usr/bin/curl",
        "10.0.0.0/8",
        "::/0",
        "443",
        "IPPROTO_TCP",
        "AF_INET",
        "TCP_LISTEN",
        "reg",
        "CAP_BPF",
        "host_ns",
        "list:few",
        "list:none",
        "",
        ":",
        "a/b",
    ])
}

fn any_value_filter() -> impl Strategy<Value = Value> {
    (0..3_i32, any_operator(), vec(any_text(), 0..3), vec(-1..3_i32, 0..3)).prop_map(
        |(index, operator, values, args)| json!({"index": index, "operator": operator, "values": values, "args": args}),
    )
}

fn any_argument() -> impl Strategy<Value = Value> {
    let r#type = prop_oneof![
        9 => select(ArgumentType::ALL).prop_map(|r#type| r#type.as_str().to_owned()),
        1 => any_word(&["", "integer"])
    ];
    (-1..8_i32, r#type, any_word(&["", "", "", "a.b", "a..b", "x[1]"]), 0..4_i32, any_word(&["", "", "current_task"]))
        .prop_map(|(index, r#type, resolve, size, source)| {
            json!({"index": index, "type": r#type, "resolve": resolve, "sizeArgIndex": size, "source": source})
        })
}

fn any_selector() -> impl Strategy<Value = Value> {
    let action = (
        any_word(&["Post", "NoPost", "Sigkill", "signal", "Override", "UntrackSock", "FollowFD"]),
        0..70_i32,
        any_word(&["", "5s"]),
    );
    let action =
        action.prop_map(|(action, signal, limit)| json!({"action": action, "argSig": signal, "rateLimit": limit}));
    let process = (any_operator(), vec(any_text(), 0..3), any::<bool>(), vec(0..9_i64, 0..3));
    (vec(any_value_filter(), 0..3), vec(any_value_filter(), 0..2), vec(action, 0..3), process).prop_map(
        |(args, returned, actions, (operator, values, follow, pids))| {
            json!({
                "matchArgs": args, "matchReturnArgs": returned, "matchActions": actions, "macros": ["m"],
                "matchPIDs": [{"operator": operator, "values": pids, "followForks": follow}],
                "matchBinaries": [{"operator": operator, "values": values, "followChildren": follow}],
                "matchNamespaces": [{"namespace": "Net", "operator": operator, "values": values}],
                "matchCapabilities": [{"operator": operator, "values": values}],
                "matchCredentials": [{"credential": "uid", "operator": operator, "values": values}],
            })
        },
    )
}

fn any_hook() -> impl Strategy<Value = Value> {
    let hook = (
        any_word(&["fd_install", "sys_openat", "list:few", "i386/sys_dup", "security_bprm_check", ""]),
        any::<(bool, bool)>(),
        vec(any_argument(), 0..4),
        vec(any_selector(), 0..3),
    );
    hook.prop_map(|(call, (syscall, returns), args, selectors)| {
        json!({"call": call, "syscall": syscall, "return": returns, "returnArg": {"type": "int"}, "args": args, "selectors": selectors})
    })
}

fn any_policy() -> impl Strategy<Value = Value> {
    let tracepoint = (vec(any_argument(), 0..3), vec(any_selector(), 0..2), any::<bool>());
    let tracepoint = tracepoint.prop_map(|(args, selectors, raw)| {
        json!({"subsystem": "sched", "event": "sched_switch", "raw": raw, "args": args, "selectors": selectors})
    });
    let lists = any_word(&["", "syscalls", "generated_ftrace"]);
    (vec(any_hook(), 0..3), vec(any_hook(), 0..2), vec(tracepoint, 0..2), lists, any_word(&["policy-mode", "x"]))
        .prop_map(|(kprobes, fentries, tracepoints, list, option)| {
            json!({
                "kprobes": kprobes, "fentries": fentries, "tracepoints": tracepoints,
                "lists": [{"name": "few", "type": list, "values": ["1", "2:3"]}],
                "options": [{"name": option, "value": "monitor"}], "selectorsMacros": {"m": {}},
            })
        })
}

/// A policy of which most are accepted, so that the evaluator is reached.
fn any_accepted_policy() -> impl Strategy<Value = TracingPolicySpec> {
    (select(ArgumentType::ALL), select(Operator::ALL), vec(any_text(), 1..3)).prop_filter_map(
        "the check refuses it",
        |(r#type, operator, values)| {
            let mut spec = super::table::policy(r#type, operator);
            let hook = spec.kprobes.first_mut()?;
            if !operator.takes_no_values() {
                hook.selectors[0].match_args[0].values = values;
            }
            check(&spec, false).ok()
        },
    )
}

fn any_value() -> impl Strategy<Value = CallValue> {
    let bytes = || vec(any::<u8>(), 0..6);
    let socket =
        (any::<Option<u16>>(), any::<Option<[u8; 4]>>(), any::<Option<u16>>()).prop_map(|(family, address, port)| {
            CallSocket { family, daddr: address.map(Into::into), dport: port, ..CallSocket::default() }
        });
    prop_oneof![
        Just(CallValue::Unreadable),
        any::<i64>().prop_map(|number| CallValue::Number(number.into())),
        bytes().prop_map(CallValue::Text),
        (bytes(), any::<u32>()).prop_map(|(path, mode)| CallValue::File { path, mode }),
        socket.prop_map(CallValue::Socket),
        any::<u64>().prop_map(CallValue::Capabilities),
        Just(CallValue::Opaque),
    ]
}

/// Every path of a JSON value, as pointers.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| pointers(inner, format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| pointers(inner, format!("{at}/{index}"), found));
        }
        _ => {}
    }
    found.push(at);
}

fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any_text().prop_map(Value::from),
        2 => (-2..300_i64).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!([])),
        1 => Just(json!({})),
        1 => any_selector().prop_map(|selector| json!([selector])),
        1 => any_argument(),
    ]
}

proptest! {
    // A policy costs much more than the values of most property tests.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(4), ..ProptestConfig::default() })]

    #[test]
    fn every_fault_of_any_policy_names_its_path(policy in any_policy(), is_namespaced in any::<bool>()) {
        let spec: TracingPolicySpec = serde_json::from_value(policy).unwrap();
        match check(&spec, is_namespaced) {
            Ok(checked) => prop_assert_eq!(check(&checked, is_namespaced), Ok(checked.clone())),
            Err(faults) => for fault in faults.listed {
                prop_assert!(fault.field == "spec" || fault.field.starts_with("spec."), "{:?}", fault);
                prop_assert!(fault.message.contains(&fault.field), "{:?}", fault);
            },
        }
        let stack = ObservabilityStack::new("default", Default::default());
        let policy = TracingPolicy::new("random", spec);
        let refusals = plan(&Inputs { policies: vec![&policy], ..Inputs::new(&stack) }).refusals;
        prop_assert!(refusals.iter().all(|refusal| refusal.message.chars().count() <= MAX_MESSAGE));
    }

    #[test]
    fn negated_operators_say_the_opposite(spec in any_accepted_policy(), values in vec(any_value(), 2)) {
        let call = Call { args: values, ..Call::default() };
        let matches = |spec: &TracingPolicySpec| {
            let (_, hook) = spec.hooks().next().unwrap();
            evaluate(hook, &spec.lists, &call).entry.is_some()
        };
        let operator = spec.kprobes[0].selectors[0].match_args[0].operator.known().unwrap();
        let mut opposite = spec.clone();
        opposite.kprobes[0].selectors[0].match_args[0].operator = operator.positive().into();
        prop_assert_eq!(matches(&spec), matches(&opposite) != operator.is_negated());
    }

    #[test]
    fn changed_examples_are_accepted_or_refused_by_path(
        example in 0..83_usize,
        changes in vec((any::<prop::sample::Index>(), any_json()), 1..4),
    ) {
        let mut value = serde_json::to_value(&EXAMPLES[example].spec).unwrap();
        for (place, change) in changes {
            let mut places = Vec::new();
            pointers(&value, String::new(), &mut places);
            *value.pointer_mut(&places[place.index(places.len())]).unwrap() = change;
        }
        // What has another type is refused before the check.
        if let Ok(spec) = serde_json::from_value::<TracingPolicySpec>(value) {
            for fault in check(&spec, false).err().unwrap_or_default().listed {
                prop_assert!(fault.message.contains(&fault.field) && fault.field.starts_with("spec"), "{:?}", fault);
            }
        }
    }
}
