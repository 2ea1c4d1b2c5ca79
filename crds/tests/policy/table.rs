//! Every operator with every type: accepted where it has a meaning, refused by its path elsewhere.

use trilobite_crds::policy::{
    Argument, ArgumentType, Kprobe, Operator, Selector, Tracepoint, TracingPolicySpec, ValueClass, ValueFilter,
    Vocabulary,
};

use super::faults;

/// Types by what filters can compare them with, as Tetragon's reference says it. Written out, so that a changed class shows.
const NUMBERS: &str =
    "int sint8 int8 uint8 sint16 int16 uint16 uint32 sint32 int32 ulong uint64 size_t long sint64 int64";
const TEXTS: &str = "string char_buf fd filename dentry linux_binprm net_device";
const FILES: &str = "file path";
const CONNECTIONS: &str = "sock socket";
const CAPABILITIES: &str = "kernel_cap_t cap_inheritable cap_permitted cap_effective";

const NUMBER_OPERATORS: &str = "Equal NotEqual GT LT Mask InMap NotInMap InRange NotInRange";
const TEXT_OPERATORS: &str = "Equal NotEqual Prefix NotPrefix Postfix NotPostfix SubString SubStringIgnCase";
const ADDRESS_OPERATORS: &str = "SAddr NotSAddr SPort NotSPort SPortPriv NotSPortPriv Family";
const CONNECTION_OPERATORS: &str = "DAddr NotDAddr DPort NotDPort DPortPriv NotDPortPriv Protocol";

fn has_meaning(r#type: &str, operator: &str) -> bool {
    let is_one_of = |words: &str| words.split(' ').any(|word| word == operator);
    let is = |types: &str| types.split(' ').any(|word| word == r#type);
    (is(NUMBERS) && is_one_of(NUMBER_OPERATORS))
        || (is(TEXTS) && is_one_of(TEXT_OPERATORS))
        || (is(FILES) && (is_one_of(TEXT_OPERATORS) || is_one_of("FileType NotFileType")))
        || (is(CONNECTIONS) && (is_one_of(ADDRESS_OPERATORS) || is_one_of(CONNECTION_OPERATORS) || operator == "State"))
        || (r#type == "skb" && (is_one_of(ADDRESS_OPERATORS) || is_one_of(CONNECTION_OPERATORS)))
        || (r#type == "sockaddr" && is_one_of(ADDRESS_OPERATORS))
        || (r#type == "sockaddr_un" && (is_one_of(TEXT_OPERATORS) || operator == "Family"))
        || (is(CAPABILITIES) && is_one_of("Equal NotEqual Mask CapabilitiesGained"))
}

/// Values that every operator can read.
fn values(operator: Operator, r#type: ArgumentType) -> Vec<String> {
    let text = match operator.positive() {
        Operator::SAddr | Operator::DAddr => "10.0.0.0/8",
        Operator::FileType => "reg",
        _ if operator.takes_no_values() => return Vec::new(),
        _ if r#type.class() == ValueClass::Capabilities => "CAP_BPF",
        _ => "1",
    };
    vec![text.into()]
}

/// A hook with two arguments of the type, and a filter on the first.
pub(super) fn policy(r#type: ArgumentType, operator: Operator) -> TracingPolicySpec {
    let is_buffer = matches!(r#type, ArgumentType::CharBuf | ArgumentType::CharIovec);
    let arg = |index| Argument {
        index,
        r#type: r#type.into(),
        size_arg_index: i32::from(is_buffer) * 3,
        ..Argument::default()
    };
    let positions = if operator == Operator::CapabilitiesGained { vec![0, 1] } else { Vec::new() };
    let filter = ValueFilter {
        operator: operator.into(),
        values: values(operator, r#type),
        args: positions,
        ..ValueFilter::default()
    };
    let selectors = vec![Selector { match_args: vec![filter], ..Selector::default() }];
    let args = vec![arg(0), arg(1)];
    match r#type {
        // These two exist at tracepoints only.
        ArgumentType::Syscall64 | ArgumentType::DataLoc => {
            let hook =
                Tracepoint { subsystem: "a".into(), event: "b".into(), args, selectors, ..Tracepoint::default() };
            TracingPolicySpec { tracepoints: vec![hook], ..TracingPolicySpec::default() }
        }
        _ => {
            let hook = Kprobe { call: "f".into(), syscall: false, args, selectors, ..Kprobe::default() };
            TracingPolicySpec { kprobes: vec![hook], ..TracingPolicySpec::default() }
        }
    }
}

#[test]
fn pairs_without_meaning_are_refused_by_path() {
    let mut accepted = 0;
    for r#type in ArgumentType::ALL.iter().copied().filter(|r#type| *r#type != ArgumentType::Auto) {
        for operator in Operator::ALL.iter().copied() {
            let found = faults(&policy(r#type, operator));
            let name = match r#type {
                ArgumentType::Syscall64 => "int64",
                ArgumentType::DataLoc => "string",
                other => other.as_str(),
            };
            if has_meaning(name, operator.as_str()) {
                assert_eq!(found, [""; 0], "{type} {operator}");
                accepted += 1;
            } else {
                let section = if matches!(r#type, ArgumentType::Syscall64 | ArgumentType::DataLoc) {
                    "tracepoints"
                } else {
                    "kprobes"
                };
                let path = format!("spec.{section}[0].selectors[0].matchArgs[0].operator: {operator} is ");
                assert!(found.len() == 1 && found[0].starts_with(&path), "{type} {operator}: {found:?}");
            }
        }
    }
    assert_eq!(accepted, 17 * 9 + 8 * 8 + 2 * 10 + 2 * 15 + 14 + 7 + 9 + 4 * 4);
}

#[test]
fn auto_is_left_to_the_node() {
    let mut spec = policy(ArgumentType::Syscall64, Operator::Equal);
    for operator in Operator::ALL.iter().copied().filter(|operator| *operator != Operator::CelExpr) {
        spec.tracepoints[0].args[0].r#type = ArgumentType::Auto.into();
        spec.tracepoints[0].selectors[0].match_args[0].operator = operator.into();
        assert_eq!(faults(&spec), [""; 0], "{operator}");
    }
}
