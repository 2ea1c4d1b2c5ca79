//! Policies that come, change and go: bits stay, a flip hands over, and each table on the way says what one version says.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use trilobite_crds::node::PolicyPart;

use super::{
    differential::{Checked, class_row, evaluated, input, interpreted},
    random::{Random, seeds},
    small_kernel::{SmallCall, SmallHook, kernel},
    spec::{any_hook, random_part, read},
};
use crate::plan::policy::{
    AttachPoint, Change, Compiled, PolicyId, PolicyInput, PolicyVersion, change, change::ProgramReason, compile,
};

/// The versions that are active, by the number of their policy.
type Active = BTreeMap<usize, PolicyVersion>;

fn part(spec: &Value) -> Arc<PolicyPart> {
    Arc::new(PolicyPart { pods: Arc::default(), spec: Arc::new(read(spec)), ring_bytes: 1 << 20, dry_run: false })
}

/// A policy that compares the flags of reef_open.
fn flags(operator: &str, value: &str) -> Arc<PolicyPart> {
    part(&json!({"kprobes": [{
        "call": "reef_open", "syscall": false, "args": [{"index": 1, "type": "int"}],
        "selectors": [{"matchArgs": [{"index": 1, "operator": operator, "values": [value]}]}],
    }]}))
}

fn reef_open() -> AttachPoint {
    AttachPoint::FunctionEntry { name: "reef_open".into() }
}

#[test]
fn new_version_takes_other_bits_in_the_word_of_the_old_one() {
    let kernel = kernel();
    let both = [input(1, flags("Equal", "1")), input(2, flags("GT", "5"))];
    let before = compile(&both, &kernel, &Compiled::default());
    let mut changed = both.clone();
    changed[0] = PolicyInput {
        former: Some(both[0].wanted.clone()),
        wanted: PolicyVersion { id: PolicyId(3), part: flags("NotEqual", "4") },
        ..both[0].clone()
    };
    let after = compile(&changed, &kernel, &before);
    let (old, new) = (&before.hooks[&reef_open()], &after.hooks[&reef_open()]);
    let Change::Maps(maps) = change(Some(old), new, &after.binaries) else { panic!("something would be loaded") };
    assert_eq!((maps.old_bits, maps.new_bits), (vec![0], vec![2]));
    assert_eq!(new.replaced, [(PolicyId(3), PolicyId(1))]);
    // Once nobody is flipped any more, the freed bit is given away again.
    let settled = [changed[1].clone(), input(4, flags("LT", "0")), PolicyInput { former: None, ..changed[0].clone() }];
    let last = compile(&settled, &kernel, &after);
    let bits: Vec<(u16, u32)> =
        last.hooks[&reef_open()].selectors.iter().map(|selector| (selector.bit, selector.policy.0)).collect();
    assert_eq!(bits, [(0, 4), (1, 2), (2, 3)]);
}

#[test]
fn new_version_stays_in_its_word_though_another_has_room() {
    let kernel = kernel();
    let twenty = |value: &str| {
        let selector = json!({"matchArgs": [{"index": 1, "operator": "Equal", "values": [value]}]});
        part(&json!({"kprobes": [{
            "call": "reef_open", "syscall": false, "args": [{"index": 1, "type": "int"}], "selectors": vec![selector; 20],
        }]}))
    };
    let three = [input(1, twenty("1")), input(2, twenty("2")), input(3, twenty("3"))];
    let before = compile(&three, &kernel, &Compiled::default());
    // The first one goes, so that its word has room.
    let changed = PolicyInput {
        former: Some(three[2].wanted.clone()),
        wanted: PolicyVersion { id: PolicyId(4), part: twenty("4") },
        ..three[2].clone()
    };
    let after = compile(&[three[1].clone(), changed], &kernel, &before);
    let words: Vec<u8> = after.hooks[&reef_open()].entries.iter().map(|entry| entry.word).collect();
    assert_eq!(words, [0, 1]);
    let plans = (&before.hooks[&reef_open()], &after.hooks[&reef_open()]);
    assert!(matches!(change(Some(plans.0), plans.1, &after.binaries), Change::Maps(_)));
}

#[test]
fn same_policies_change_nothing() {
    let kernel = kernel();
    let inputs = [input(1, flags("Equal", "1"))];
    let first = compile(&inputs, &kernel, &Compiled::default());
    let second = compile(&inputs, &kernel, &first);
    assert_eq!(first, second);
    assert_eq!(
        change(Some(&first.hooks[&reef_open()]), &second.hooks[&reef_open()], &second.binaries),
        Change::Nothing
    );
}

#[test]
fn dropped_tables_are_built_again_for_what_changes() {
    let kernel = kernel();
    let inputs = [input(1, flags("Equal", "1")), input(2, flags("GT", "5"))];
    let complete = compile(&inputs, &kernel, &Compiled::default());
    let mut active = complete.clone();
    active.drop_tables();
    let change_to = |to: &Compiled| change(Some(&active.hooks[&reef_open()]), &to.hooks[&reef_open()], &to.binaries);
    assert_eq!(change_to(&compile(&inputs, &kernel, &active)), Change::Nothing);
    let one = compile(&inputs[..1], &kernel, &active);
    let Change::Maps(maps) = change_to(&one) else { panic!("something would be loaded") };
    assert_eq!(maps.during, complete.hooks[&reef_open()].tables);
    assert_eq!(one, compile(&inputs[..1], &kernel, &complete));
    // Another program needs all of them.
    let masked = compile(&[inputs[0].clone(), input(3, flags("Mask", "2"))], &kernel, &active);
    assert_eq!(masked.hooks[&reef_open()].tables.len(), masked.hooks[&reef_open()].dimensions.len());
}

#[test]
fn deleted_policy_leaves_the_program_as_it_is() {
    let kernel = kernel();
    let named = part(&json!({"kprobes": [{
        "call": "reef_open", "syscall": false, "args": [{"index": 2, "type": "string"}],
        "selectors": [{"matchArgs": [{"index": 2, "operator": "Prefix", "values": ["/etc"]}]}],
    }]}));
    let both = compile(&[input(1, flags("Equal", "1")), input(2, named.clone())], &kernel, &Compiled::default());
    let one = compile(&[input(1, flags("Equal", "1"))], &kernel, &both);
    let change_to =
        |from: &Compiled, to: &Compiled| change(Some(&from.hooks[&reef_open()]), &to.hooks[&reef_open()], &to.binaries);
    assert!(matches!(change_to(&both, &one), Change::Maps(_)));
    let again = compile(&[input(1, flags("Equal", "1")), input(3, named)], &kernel, &one);
    assert!(matches!(change_to(&one, &again), Change::Maps(_)), "its dimension is still there");
    let masked = compile(&[input(1, flags("Equal", "1")), input(4, flags("Mask", "2"))], &kernel, &one);
    assert_eq!(change_to(&one, &masked), Change::Program(ProgramReason::Values));
    assert_eq!(masked.hooks[&reef_open()].dimensions.len(), 2, "a new program drops what is not needed");
}

#[test]
fn first_signal_of_a_hook_needs_another_program() {
    let kernel = kernel();
    let acting = |actions: Value| {
        part(&json!({"kprobes": [{
            "call": "reef_open", "syscall": false, "args": [{"index": 1, "type": "int"}],
            "selectors": [{
                "matchArgs": [{"index": 1, "operator": "Equal", "values": ["7"]}], "matchActions": actions,
            }],
        }]}))
    };
    let posts = input(1, flags("Equal", "1"));
    let before = compile(std::slice::from_ref(&posts), &kernel, &Compiled::default());
    let reason = |from: &Compiled, to: &Compiled| match change(
        Some(&from.hooks[&reef_open()]),
        &to.hooks[&reef_open()],
        &to.binaries,
    ) {
        Change::Program(reason) => Some(reason),
        _ => None,
    };
    for actions in [
        json!([{"action": "Sigkill"}]),
        json!([{"action": "Post", "rateLimit": "5s"}]),
        json!([{"action": "Post", "kernelStackTrace": true}]),
    ] {
        let with = compile(&[posts.clone(), input(2, acting(actions.clone()))], &kernel, &before);
        assert_eq!(reason(&before, &with), Some(ProgramReason::Actions), "{actions}");
        // The program keeps the part, so that neither leaving nor coming back loads anything.
        let without = compile(std::slice::from_ref(&posts), &kernel, &with);
        let again = compile(&[posts.clone(), input(3, acting(actions))], &kernel, &without);
        assert_eq!((reason(&with, &without), reason(&without, &again)), (None, None));
    }
}

#[test]
fn refused_version_leaves_the_former_one_active() {
    let kernel = kernel();
    let good = input(1, flags("Equal", "1"));
    let before = compile(std::slice::from_ref(&good), &kernel, &Compiled::default());
    let bad = part(&json!({"kprobes": [{"call": "reef_close", "syscall": false}]}));
    let changed = PolicyInput {
        former: Some(good.wanted.clone()),
        wanted: PolicyVersion { id: PolicyId(2), part: bad },
        ..good.clone()
    };
    let after = compile(&[changed], &kernel, &before);
    assert_eq!(after.hooks, before.hooks);
    assert_eq!(after.refused.keys().collect::<Vec<_>>(), [&PolicyId(2)]);
}

/// Applies random changes, and compares each table on the way with the version that it must answer for.
fn update_at_random(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let kernel = kernel();
    let small = any_hook(&mut random);
    let mut active = Active::new();
    let mut before = Compiled::default();
    let mut maps_only = 0;
    for step in 0..12_u32 {
        let mut inputs: Vec<(usize, PolicyInput)> = Vec::new();
        let changed = random.below(6);
        for policy in 0..6 {
            let current = active.get(&policy);
            let of_version = |version: &PolicyVersion| PolicyInput {
                wanted: version.clone(),
                ..input(version.id.0, version.part.clone())
            };
            let leaves = random.one_in(3);
            match current {
                Some(version) if policy != changed => inputs.push((policy, of_version(version))),
                Some(_) if leaves => {}
                None if policy != changed => {}
                former => {
                    let wanted = PolicyVersion { id: PolicyId(step + 1), part: random_part(small, &mut random) };
                    inputs.push((policy, PolicyInput { former: former.cloned(), ..of_version(&wanted) }));
                }
            }
        }
        let wanted: Vec<PolicyInput> = inputs.iter().map(|(_, input)| input.clone()).collect();
        let after = compile(&wanted, &kernel, &before);
        let next: Active = inputs
            .into_iter()
            .filter_map(|(policy, input)| {
                let is_refused = after.refused.contains_key(&input.wanted.id);
                let version = if is_refused { input.former? } else { input.wanted };
                Some((policy, version))
            })
            .collect();
        maps_only += compare_change(seed, small, &before, &after, &active, &next, &mut random);
        active = next;
        before = after;
    }
    maps_only
}

fn checked(active: &Active) -> Vec<Checked> {
    active.values().filter_map(|version| Checked::new(version.id, &version.part, &kernel())).collect()
}

fn compare_change(
    seed: u64,
    small: &SmallHook,
    before: &Compiled,
    after: &Compiled,
    old: &Active,
    new: &Active,
    random: &mut Random,
) -> usize {
    let (old, new) = (checked(old), checked(new));
    let (old, new): (Vec<&Checked>, Vec<&Checked>) = (old.iter().collect(), new.iter().collect());
    let mut maps_only = 0;
    for (point, plan) in &after.hooks {
        let was = before.hooks.get(point);
        let step = change(was, plan, &after.binaries);
        for _ in 0..8 {
            let world = SmallCall::random(small, random);
            let row = class_row(plan, plan.selectors.iter(), &world);
            let expected = evaluated(&new, plan, small, &world);
            assert_eq!(
                interpreted(plan, &plan.tables, &row, &world, &after.binaries),
                expected,
                "seed {seed}: {point}"
            );
            let (Change::Maps(maps), Some(was)) = (&step, was) else { continue };
            let flipped = interpreted(plan, &maps.during, &row, &world, &after.binaries);
            assert_eq!(flipped, expected, "seed {seed}: {point} after the flip");
            let row = class_row(was, was.selectors.iter(), &world);
            let unflipped = interpreted(was, &maps.during, &row, &world, &after.binaries);
            assert_eq!(unflipped, evaluated(&old, was, small, &world), "seed {seed}: {point} before the flip");
        }
        if let Change::Maps(maps) = &step {
            maps_only += 1;
            assert!(maps.new_bits.iter().all(|bit| !maps.old_bits.contains(bit)), "seed {seed}: {point}");
        }
    }
    maps_only
}

#[test]
fn every_table_on_the_way_answers_for_one_version() {
    let maps_only: usize = seeds(60).map(update_at_random).sum();
    assert!(maps_only > 20, "only {maps_only} changes were of maps alone");
}
