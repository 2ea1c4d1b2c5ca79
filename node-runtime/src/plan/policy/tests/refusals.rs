//! What a kernel cannot do is refused by field, with the message that users see.

use std::sync::Arc;

use serde_json::{Value, json};
use trilobite_crds::node::PolicyPart;

use super::{
    differential::input,
    random::{Random, seeds},
    small_kernel::kernel,
    spec::read,
};
use crate::{
    plan::policy::{
        AttachMethod, AttachPoint, Compiled, HookPlan, PolicyId, compile,
        dimension::MAX_DIMENSIONS,
        facts::KernelFacts,
        hook_plan::{ActionPlan, MAX_POLICY_SELECTORS},
        value::MAX_VALUES,
    },
    problem::Problem,
};

fn part(spec: &Value) -> Arc<PolicyPart> {
    Arc::new(PolicyPart { pods: Arc::default(), spec: Arc::new(read(spec)), ring_bytes: 1 << 20, dry_run: false })
}

fn messages(spec: &Value, facts: &KernelFacts) -> Vec<String> {
    let compiled = compile(&[input(1, part(spec))], facts, &Compiled::default());
    compiled.refused.values().flatten().map(Problem::message).collect()
}

fn facts(text: &str) -> KernelFacts {
    KernelFacts::parse(text).unwrap()
}

#[test]
fn missing_function_names_what_to_do() {
    let spec = json!({"kprobes": [{"call": "find_module_sections", "syscall": false}]});
    assert_eq!(
        messages(&spec, &kernel()),
        [
            "spec.kprobes[0].call: function find_module_sections does not exist in this kernel; set ignore.callNotFound, or see `trilobite policy check`"
        ]
    );
    let ignored = json!({"kprobes": [
        {"call": "find_module_sections", "syscall": false, "ignore": {"callNotFound": true}},
        {"call": "reef_open", "syscall": false},
    ]});
    let compiled = compile(&[input(1, part(&ignored))], &kernel(), &Compiled::default());
    assert_eq!(compiled.refused.len(), 0);
    assert_eq!(compiled.hooks.len(), 1);
    assert!(matches!(compiled.notes[&PolicyId(1)][..], [Problem::FunctionLeftOut { .. }]));
}

#[test]
fn function_that_cannot_be_traced_is_another_reason() {
    let facts = facts(
        "release: '6.1'\nfunctions: ['int dev_queue_xmit(struct sk_buff *skb)']\nuntraceable: [dev_queue_xmit]\n",
    );
    let spec = json!({"kprobes": [{"call": "dev_queue_xmit", "syscall": false, "ignore": {"callNotFound": true}}]});
    assert_eq!(
        messages(&spec, &facts),
        [
            "spec.kprobes[0].call: function dev_queue_xmit exists in this kernel, but cannot be traced; hook a function that calls it"
        ]
    );
}

#[test]
fn argument_of_another_type_names_the_right_index() {
    let new = facts(
        "release: '6.18'\nfunctions: ['int security_inode_copy_up_xattr(struct dentry *src, const char *name)']\n",
    );
    let old = facts("release: '6.1'\nfunctions: ['int security_inode_copy_up_xattr(const char *name)']\n");
    let spec = json!({"kprobes": [{
        "call": "security_inode_copy_up_xattr", "syscall": false, "args": [{"index": 0, "type": "string"}],
    }]});
    assert_eq!(
        messages(&spec, &new),
        [
            "spec.kprobes[0].args[0]: security_inode_copy_up_xattr has struct dentry * there in this kernel, not a string; its string is index 1"
        ]
    );
    assert_eq!(messages(&spec, &old), Vec::<String>::new());
    let number = json!({"kprobes": [{
        "call": "security_inode_copy_up_xattr", "syscall": false, "args": [{"index": 0, "type": "int"}],
    }]});
    assert_eq!(
        messages(&number, &new),
        [
            "spec.kprobes[0].args[0]: security_inode_copy_up_xattr has struct dentry * there in this kernel, not an int; use type dentry"
        ]
    );
    let beyond = json!({"kprobes": [{
        "call": "security_inode_copy_up_xattr", "syscall": false, "args": [{"index": 2, "type": "string"}],
    }]});
    assert_eq!(
        messages(&beyond, &new),
        ["spec.kprobes[0].args[0]: security_inode_copy_up_xattr has 2 arguments in this kernel; use index 0 to 1"]
    );
}

#[test]
fn syscall_is_found_by_the_name_of_the_architecture() {
    let spec = json!({"kprobes": [{"call": "sys_openat", "args": [{"index": 1, "type": "string"}]}]});
    for (architecture, name) in [("x86_64", "__x64_sys_openat"), ("aarch64", "__arm64_sys_openat")] {
        let facts = facts(&format!("release: '6.1'\narchitecture: {architecture}\ntraceable: [{name}]\n"));
        let compiled = compile(&[input(1, part(&spec))], &facts, &Compiled::default());
        assert_eq!(compiled.refused.len(), 0, "{:?}", compiled.refused);
        let plan = &compiled.hooks[&AttachPoint::FunctionEntry { name: name.into() }];
        assert!(plan.is_syscall);
        assert_eq!(plan.attachment.ways, [AttachMethod::Kprobe]);
        assert_eq!(plan.attachment.passed_over[0].way, AttachMethod::Fentry);
    }
}

#[test]
fn function_of_a_system_call_has_the_arguments_of_the_program() {
    let facts = facts("release: '6.1'\ntraceable: [__x64_sys_openat]\n");
    let by_symbol = json!({"kprobes": [{
        "call": "__x64_sys_openat", "syscall": false, "args": [{"index": 1, "type": "string"}],
    }]});
    let by_name = json!({"kprobes": [{"call": "sys_openat", "args": [{"index": 1, "type": "string"}]}]});
    let compiled = compile(&[input(1, part(&by_symbol)), input(2, part(&by_name))], &facts, &Compiled::default());
    let plan = compiled.hooks.values().next().unwrap();
    assert!(plan.is_syscall && compiled.hooks.len() == 1 && plan.values.len() == 1);
}

#[test]
fn buffer_that_is_copied_at_the_return_is_compared_there() {
    let facts = facts("release: '6.1'\ntraceable: [__x64_sys_read]\n");
    let mut spec = json!({"kprobes": [{
        "call": "sys_read", "args": [{"index": 1, "type": "char_buf", "sizeArgIndex": 3, "returnCopy": true}],
        "selectors": [{"matchArgs": [{"index": 1, "operator": "Prefix", "values": ["key"]}]}],
    }]});
    assert_eq!(
        messages(&spec, &facts),
        [
            "spec.kprobes[0].args[0].returnCopy: returnCopy reads at the return of the function; set return: true and returnArg"
        ]
    );
    spec["kprobes"][0]["return"] = json!(true);
    spec["kprobes"][0]["returnArg"] = json!({"index": 0, "type": "int"});
    let compiled = compile(&[input(1, part(&spec))], &facts, &Compiled::default());
    let plan = compiled.hooks.values().next().unwrap();
    assert!(plan.dimensions.iter().all(|dimension| dimension.at_return));
}

#[test]
fn list_of_functions_shares_one_plan_where_the_kernel_can() {
    let text =
        "release: '6.12'\nfentry: true\ntraceable: [__x64_sys_dup, __x64_sys_dup2, __x64_sys_dup3, __x64_sys_openat]\n";
    let spec = json!({
        "lists": [{"name": "dups", "type": "syscalls", "values": ["sys_dup", "sys_dup2", "sys_dup3"]}],
        "kprobes": [{"call": "list:dups"}],
    });
    let single = json!({"kprobes": [{"call": "sys_dup2"}]});
    let compiled =
        |text: &str| compile(&[input(1, part(&spec)), input(2, part(&single))], &facts(text), &Compiled::default());
    let each = compiled(text);
    assert_eq!(each.hooks.len(), 3);
    let shared = compiled(&format!("{text}kprobeMulti: true\n"));
    let functions: Vec<Vec<&str>> = shared.hooks.values().map(|plan| plan.functions().collect()).collect();
    assert_eq!(functions, [vec!["__x64_sys_dup", "__x64_sys_dup3"], vec!["__x64_sys_dup2"]]);
    assert_eq!(shared.hooks.values().next().unwrap().attachment.ways[0], AttachMethod::KprobeMulti);
}

#[test]
fn list_with_returns_shares_one_plan_before_kprobe_session() {
    let facts =
        facts("release: '6.1'\nkprobeMulti: true\ntraceable: [__x64_sys_dup, __x64_sys_dup2, __ia32_sys_dup]\n");
    let spec = json!({
        "lists": [{"name": "dups", "type": "syscalls", "values": ["sys_dup", "sys_dup2", "i386/sys_dup"]}],
        "kprobes": [{"call": "list:dups", "return": true, "returnArg": {"index": 0, "type": "int"}}],
    });
    let compiled = compile(&[input(1, part(&spec))], &facts, &Compiled::default());
    let functions: Vec<Vec<&str>> = compiled.hooks.values().map(|plan| plan.functions().collect()).collect();
    // 32-bit system calls have their arguments in other registers.
    assert_eq!(functions, [vec!["__ia32_sys_dup"], vec!["__x64_sys_dup", "__x64_sys_dup2"]]);
    let ways = |plan: &HookPlan| plan.attachment.ways.clone();
    let ways: Vec<Vec<AttachMethod>> = compiled.hooks.values().map(ways).collect();
    assert_eq!(ways, [vec![AttachMethod::Kretprobe], vec![AttachMethod::KprobeMulti, AttachMethod::Kretprobe]]);
}

#[test]
fn signal_of_a_hook_with_a_return_is_sent_at_the_entry() {
    let facts = facts("release: '6.1'\ntraceable: [__x64_sys_read]\n");
    let actions_by_point = |return_copy: bool| {
        let spec = json!({"kprobes": [{
            "call": "sys_read", "return": true, "returnArg": {"index": 0, "type": "int"},
            "args": [{"index": 1, "type": "char_buf", "sizeArgIndex": 3, "returnCopy": return_copy}],
            "selectors": [{
                "matchArgs": [{"index": 1, "operator": "Prefix", "values": ["key"]}], "matchActions": [{"action": "Sigkill"}],
            }],
        }]});
        let compiled = compile(&[input(1, part(&spec))], &facts, &Compiled::default());
        let of_plan = |plan: &HookPlan| {
            let actions = plan.selectors.iter().map(|selector| selector.actions.clone());
            (plan.point.has_return(), actions.collect::<Vec<_>>())
        };
        compiled.hooks.values().map(of_plan).collect::<Vec<_>>()
    };
    let signal = vec![ActionPlan::Signal { number: 9, is_monitored: false }, ActionPlan::NoPost];
    let post = vec![ActionPlan::post()];
    assert_eq!(actions_by_point(false), [(false, vec![signal.clone()]), (true, vec![post.clone()])]);
    // What the filter is about comes into being in the call.
    assert_eq!(actions_by_point(true), [(true, vec![signal, post])]);
}

#[test]
fn generated_list_takes_what_the_kernel_has() {
    let facts =
        facts("release: '6.12'\ntraceable: [ksys_dup3, ksys_read, __x64_sys_read, __x64_sys_ni_syscall, vfs_read]\n");
    let functions = |list: Value| {
        let spec = json!({"lists": [list], "kprobes": [{"call": "list:all", "syscall": false}]});
        let compiled = compile(&[input(1, part(&spec))], &facts, &Compiled::default());
        compiled.hooks.keys().map(|point| point.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        functions(json!({"name": "all", "type": "generated_ftrace", "pattern": "^ksys_*"})),
        ["ksys_dup3", "ksys_read"]
    );
    assert_eq!(functions(json!({"name": "all", "type": "generated_syscalls"})), ["__x64_sys_read"]);
}

#[test]
fn policy_that_finds_no_room_is_refused_and_the_others_stay() {
    let kernel = kernel();
    let one = json!({"kprobes": [{"call": "reef_open", "syscall": false, "args": [{"index": 1, "type": "int"}],
        "selectors": [{"matchArgs": [{"index": 1, "operator": "Equal", "values": ["1"]}]}]}]});
    let mut many = one.clone();
    let selector = one["kprobes"][0]["selectors"][0].clone();
    many["kprobes"][0]["selectors"] = json!(vec![selector; MAX_POLICY_SELECTORS + 1]);
    let mut inputs: Vec<_> = (1..=999).map(|id| input(id, part(&one))).collect();
    inputs.push(input(1000, part(&many)));
    let compiled = compile(&inputs, &kernel, &Compiled::default());
    let refused: Vec<String> = compiled.refused.values().flatten().map(Problem::message).collect();
    assert_eq!(
        refused,
        [
            "spec.kprobes[0].selectors: the policy has 33 selectors on this hook, and at most 32 are possible; list several values in one, or divide the policy"
        ]
    );
    assert_eq!(compiled.hooks.values().next().unwrap().selectors.len(), 999);
}

#[test]
fn hook_without_bits_left_refuses_the_newest_policies() {
    let kernel = kernel();
    let one = json!({"kprobes": [{"call": "reef_open", "syscall": false}]});
    let inputs: Vec<_> = (1..=1030).map(|id| input(id, part(&one))).collect();
    let compiled = compile(&inputs, &kernel, &Compiled::default());
    let refused: Vec<u32> = compiled.refused.keys().map(|id| id.0).collect();
    assert_eq!(refused, (1025..=1030).collect::<Vec<u32>>());
    assert_eq!(compiled.refused[&PolicyId(1030)][0].field(), "spec.kprobes[0].selectors");
}

/// Specs that are valid JSON of the spec's types, and often wrong otherwise.
fn mutated(random: &mut Random) -> Value {
    let words = [
        json!("reef_open"),
        json!("sys_openat"),
        json!(""),
        json!("list:x"),
        json!("é\u{0}"),
        json!("x".repeat(300)),
        json!("Equal"),
        json!("SubString"),
        json!("Sigkill"),
        json!("string"),
        json!("sock"),
        json!("char_buf"),
        json!("a[9].b"),
    ];
    let word = |random: &mut Random| random.pick(&words).clone();
    let number = |random: &mut Random| json!(*random.pick(&[0, 1, 5, 6, 127, -1, 4096]));
    let argument = |random: &mut Random| {
        json!({
            "index": number(random), "type": word(random), "resolve": *random.pick(&["", "comm", "a.b.c.d.e.f.g.h.i.j.k", "f_path[", "cred.uid"]),
            "sizeArgIndex": number(random), "returnCopy": random.one_in(3), "source": *random.pick(&["", "current_task", "pt_regs", "moon"]),
            "btfType": *random.pick(&["", "task_struct", "no_such"]),
        })
    };
    let filter = |random: &mut Random| json!({"index": number(random), "args": [number(random)], "operator": word(random), "values": [word(random), "1", "5:2", "list:x"]});
    let selector = |random: &mut Random| {
        json!({
            "matchArgs": [filter(random)], "matchData": [filter(random)], "matchReturnArgs": [filter(random)],
            "matchBinaries": [{"operator": word(random), "values": [word(random)], "followChildren": random.one_in(2)}],
            "matchPIDs": [{"operator": "In", "values": [number(random)], "followForks": true}],
            "matchActions": [{"action": word(random), "argSig": number(random), "rateLimit": word(random)}],
        })
    };
    let hook = |random: &mut Random| {
        let mut hook = json!({"call": word(random), "syscall": random.one_in(2), "return": random.one_in(2)});
        if random.one_in(2) {
            hook["args"] = json!([argument(random), argument(random)]);
            hook["data"] = json!([argument(random)]);
            hook["returnArg"] = argument(random);
        }
        if random.one_in(2) {
            hook["selectors"] = json!([selector(random)]);
        }
        hook
    };
    let mut spec = json!({});
    if random.one_in(2) {
        spec["kprobes"] = json!([hook(random), hook(random)]);
    }
    if random.one_in(2) {
        spec["fentries"] = json!([hook(random)]);
    }
    if random.one_in(2) {
        spec["tracepoints"] = json!([{"subsystem": "reef", "event": "reef_tide", "raw": random.one_in(2), "args": [argument(random)], "selectors": [selector(random)]}]);
    }
    if random.one_in(2) {
        spec["lists"] = json!([{"name": "x", "type": word(random), "values": [word(random)], "pattern": *random.pick(&["", "(", "reef"])}]);
    }
    spec
}

fn fuzz(seeds: std::ops::Range<u64>) {
    let kernel = kernel();
    for seed in seeds {
        let mut random = Random::new(seed);
        let inputs: Vec<_> = (1..=3).map(|id| input(id, part(&mutated(&mut random)))).collect();
        let compiled = compile(&inputs, &kernel, &Compiled::default());
        for problem in compiled.refused.values().flatten() {
            assert!(problem.field().starts_with("spec"), "seed {seed}: {problem:?}");
        }
        for plan in compiled.hooks.values() {
            assert!(plan.values.len() <= MAX_VALUES && plan.dimensions.len() <= MAX_DIMENSIONS, "seed {seed}");
            assert!(plan.selectors.iter().all(|selector| usize::from(selector.bit) < plan.width.bits()), "seed {seed}");
            assert_eq!(plan.tables.len(), plan.dimensions.len(), "seed {seed}");
        }
    }
}

#[test]
fn wrong_policies_are_refused_by_field_and_nothing_panics() {
    fuzz(seeds(1_000));
}
