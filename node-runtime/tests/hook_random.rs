//! Random policies and random calls, as root: the kernel's answer equals that of the plain evaluator. A longer run, of a hundred
//! million pairs: `TRILOBITE_PAIRS=100000000 TRILOBITE_POLICIES=250`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code, reason = "a path that cannot be read is passed to a system call")]

mod node;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    sync::Arc,
    time::Duration,
};

use node::{Node, note, parameter};
use serde_json::{Value, json};
use trilobite_crds::{
    node::PolicyPart,
    policy::{
        Hook, TracingPolicySpec,
        check::check,
        evaluate::{Call, CallValue, evaluate},
    },
};
use trilobite_node::{
    layers::security::{ArgValue, SecurityEvent, SecurityEventKind},
    plan::UnitState,
};

/// Set in the process that makes the calls: the seed, their number, and after how many of them it pauses.
const CALLER: &str = "TRILOBITE_RANDOM_CALLER";
/// Policies on the hook, and pairs of a policy and a call, unless the environment says otherwise.
const POLICIES: u64 = 12;
const PAIRS: u64 = 48_000;
/// Calls to the same policies.
const CALLS: u64 = 20_000;
/// Pairs between two pauses of the caller: all that match are events.
const PAIRS_AT_ONCE: u64 = 48;
const WORDS: [&str; 6] =
    ["reef", "Tide", "deep", "x", "shell", "tidepool-with-a-name-that-is-longer-than-a-key-of-60-bytes"];

/// xorshift64: the caller and the test make the same calls.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.next(from.len() as u64) as usize]
    }
}

/// What one call passes: openat of a file that does not exist. The first argument numbers the calls.
#[derive(Clone, Debug)]
struct MadeCall {
    path: Option<String>,
    flags: i32,
    mode: u16,
}

fn text(random: &mut Random) -> String {
    let words: Vec<&str> = (0..=random.next(3)).map(|_| random.pick(&WORDS)).collect();
    format!("/no/{}", words.join("/"))
}

fn made_call(random: &mut Random) -> MadeCall {
    let path = (random.next(20) > 0).then(|| text(random));
    let flags = if random.next(2) == 0 { random.next(40) as i32 - 20 } else { 1 << random.next(20) };
    MadeCall { path, flags, mode: random.next(64) as u16 }
}

fn number_condition(random: &mut Random, index: u32, lowest: i64, highest: i64) -> Value {
    let span = (highest - lowest + 1) as u64;
    let mut number = || lowest + random.next(span) as i64;
    let (a, b) = (number(), number());
    let values = [a, b].map(|value| value.to_string());
    let range = format!("{}:{}", a.min(b), a.max(b));
    let operator = random.pick(&["Equal", "NotEqual", "GT", "LT", "InRange", "NotInRange", "InMap", "NotInMap"]);
    let values = match operator {
        "GT" | "LT" => vec![values[0].clone()],
        "InRange" | "NotInRange" => vec![range],
        _ => values.to_vec(),
    };
    json!({ "index": index, "operator": operator, "values": values })
}

fn text_condition(random: &mut Random) -> Value {
    let whole = [text(random), text(random)];
    let cut = |random: &mut Random, text: &str| (random.next(text.len() as u64) + 1) as usize;
    let operator = random.pick(&[
        "Equal",
        "NotEqual",
        "Prefix",
        "NotPrefix",
        "Postfix",
        "NotPostfix",
        "SubString",
        "SubStringIgnCase",
    ]);
    let values: Vec<String> = whole
        .iter()
        .map(|text| {
            let at = cut(random, text);
            match operator {
                "Equal" | "NotEqual" => text.clone(),
                "Prefix" | "NotPrefix" => text[..at].to_owned(),
                "Postfix" | "NotPostfix" => text[text.len() - at..].to_owned(),
                _ => text[at / 2..at].chars().take(20).collect::<String>() + if at / 2 == at { "e" } else { "" },
            }
        })
        .collect();
    json!({ "index": 6, "operator": operator, "values": values })
}

fn condition(random: &mut Random) -> Value {
    match random.next(6) {
        0 => number_condition(random, 7, -20, 20),
        1 => json!({ "index": 7, "operator": "Mask", "values": [(1_u64 << random.next(20)).to_string()] }),
        2 => number_condition(random, 8, 0, 63),
        _ => text_condition(random),
    }
}

fn spec(random: &mut Random) -> TracingPolicySpec {
    let selectors: Vec<Value> = (0..=random.next(3))
        .map(|_| {
            let conditions: Vec<Value> = (0..=random.next(2)).map(|_| condition(random)).collect();
            json!({ "matchArgs": conditions })
        })
        .collect();
    let args = [(5, "int32"), (6, "string"), (7, "int32"), (8, "uint16")];
    let args: Vec<Value> = args.iter().map(|(index, r#type)| json!({"index": index, "type": r#type})).collect();
    let hook = json!({ "subsystem": "syscalls", "event": "sys_enter_openat", "args": args, "selectors": selectors });
    let spec = serde_json::from_value(json!({ "tracepoints": [hook] })).unwrap();
    check(&spec, false).unwrap_or_else(|faults| panic!("{faults:?} of {spec:?}"))
}

fn call_of(number: i64, made: &MadeCall) -> Call {
    let path = made.path.as_ref().map_or(CallValue::Unreadable, |path| CallValue::Text(path.clone().into_bytes()));
    let args = vec![
        CallValue::Number(number.into()),
        path,
        CallValue::Number(made.flags.into()),
        CallValue::Number(made.mode.into()),
    ];
    Call { args, ..Call::default() }
}

/// The policies, by number, that a call matches.
fn expected(specs: &[TracingPolicySpec], call: &Call) -> BTreeSet<usize> {
    let matches =
        |spec: &TracingPolicySpec| evaluate(Hook::Tracepoint(&spec.tracepoints[0]), &[], call).entry.is_some();
    specs.iter().enumerate().filter(|(_, spec)| matches(spec)).map(|(number, _)| number).collect()
}

/// The numbers of an event's call and of its policy.
fn reported(event: &SecurityEvent) -> Option<(u64, usize)> {
    let SecurityEventKind::Hook(hook) = &event.kind else { return None };
    let policy = hook.selector.policy.strip_prefix("policy-")?.parse().ok()?;
    match hook.args.first()?.value {
        ArgValue::Int(number) => Some((u64::try_from(number).ok()?, policy)),
        _ => None,
    }
}

async fn compare(seed: u64, policies: u64, calls: u64) {
    let mut random = Random::new(seed);
    let mut node = Node::new("random");
    let specs: Vec<TracingPolicySpec> = (0..policies).map(|_| spec(&mut random)).collect();
    for (number, spec) in specs.iter().enumerate() {
        let spec = Arc::new(spec.clone());
        let part = PolicyPart { pods: Arc::default(), spec, ring_bytes: 16 << 20, dry_run: false };
        node.request_policy(&format!("policy-{number}"), part);
    }
    let states = node.apply().await;
    assert!(states.values().all(|state| matches!(state, UnitState::Active { .. })), "{states:?}");
    let exe = std::env::current_exe().unwrap();
    let at_once = (PAIRS_AT_ONCE / policies).max(1);
    let mut child = node.sh(&format!(
        "exec env {CALLER}={seed}:{calls}:{at_once} {} --exact caller --ignored >/dev/null",
        exe.display()
    ));
    let mut seen: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    loop {
        let events = node.events_of(Duration::from_millis(200)).await;
        let is_over = child.try_wait().unwrap().is_some() && events.is_empty();
        for (number, policy) in events.iter().filter_map(|event| reported(event)) {
            assert!(seen.entry(number).or_default().insert(policy), "call {number} twice by policy {policy}");
        }
        if is_over {
            break;
        }
    }
    assert_eq!(node.ledger.losses(), [], "seed {seed}");
    let mut caller = Random::new(seed);
    let mut matched = 0;
    for number in 0..calls {
        let made = made_call(&mut caller);
        let wanted = expected(&specs, &call_of(number.cast_signed(), &made));
        let found = seen.remove(&number).unwrap_or_default();
        matched += usize::from(!wanted.is_empty());
        if wanted != found {
            let differing: Vec<_> = wanted.symmetric_difference(&found).map(|policy| &specs[*policy]).collect();
            panic!("seed {seed}, call {number} {made:?}: {differing:#?}");
        }
    }
    println!("seed {seed}: {calls} calls to {policies} policies, {matched} matched, 0 differences");
    assert!(matched > calls as usize / 10, "{matched} of {calls} calls matched");
}

#[tokio::test]
async fn kernel_answers_as_the_plain_evaluator() {
    let policies = parameter("TRILOBITE_POLICIES", POLICIES);
    let calls = parameter("TRILOBITE_PAIRS", PAIRS).div_ceil(policies);
    for seed in 0..calls.div_ceil(CALLS) {
        compare(seed + 1, policies, CALLS.min(calls - seed * CALLS)).await;
    }
    note(&format!("{} pairs of random policy and call in this kernel: 0 differences", policies * calls));
}

/// Makes the calls, in a process of its own: the agent's own calls are not reported.
#[test]
#[ignore = "run by the test above"]
fn caller() {
    let Ok(text) = std::env::var(CALLER) else { return };
    let numbers: Vec<u64> = text.split(':').map(|number| number.parse().unwrap()).collect();
    let (seed, calls, at_once) = (numbers[0], numbers[1], numbers[2]);
    let mut random = Random::new(seed);
    for number in 0..calls {
        let made = made_call(&mut random);
        let path = made.path.map(|path| CString::new(path).unwrap());
        let pointer = path.as_ref().map_or(std::ptr::without_provenance(8), |path| path.as_ptr());
        // SAFETY: the kernel only reads the path; one that cannot be read is refused with EFAULT.
        unsafe { libc::syscall(libc::SYS_openat, number, pointer, made.flags, libc::c_uint::from(made.mode)) };
        if number.is_multiple_of(at_once) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
