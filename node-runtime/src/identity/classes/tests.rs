//! The writes of a plan, one after the other, against a plain model: what each cgroup must be answered at every moment.

use std::collections::{BTreeMap, HashMap};

use proptest::{collection, prelude::*, sample::Index};
use trilobite_node_ebpf::{CLASS_UNDECIDED, CgroupState};

use super::{
    answers::{Answer, ClassAnswers},
    table::{ClassTable, DesiredGroup, Write},
};

const SCOPES: u32 = 3;

/// The maps as programs see them: the agent's two, and the rows of a hook.
#[derive(Clone, Default)]
struct Kernel {
    cgroups: HashMap<u64, u32>,
    decided: HashMap<u32, ClassAnswers>,
    wanted: HashMap<u32, ClassAnswers>,
    rows: HashMap<u32, ClassAnswers>,
}

impl Kernel {
    /// `decided` may be read before and `wanted` after a change of the class, or the other way round.
    fn answer(&self, cgroup: u64, scope: u32) -> Answer {
        let Some(class) = self.cgroups.get(&cgroup) else { return Answer::Unknown };
        let (Some(decided), Some(wanted)) = (self.decided.get(class), self.wanted.get(class)) else {
            return Answer::Unknown;
        };
        match (decided.is_decided(scope), wanted.is_wanted(scope)) {
            (false, _) => Answer::Unknown,
            (true, false) => Answer::NotSelected,
            (true, true) => Answer::Selected,
        }
    }

    /// What a hook's row says.
    fn row_answer(&self, cgroup: u64, scope: u32) -> Answer {
        let row = self.cgroups.get(&cgroup).and_then(|class| self.rows.get(class));
        row.map_or(Answer::Unknown, |row| row.answer(scope))
    }

    /// The states that a program can see during a write, the last one being that after it.
    fn during(&self, write: &Write) -> Vec<Self> {
        let mut after = self.clone();
        let mut seen = Vec::new();
        match write {
            Write::Notify { class, answers } => drop(after.rows.insert(*class, *answers)),
            Write::Class { class, answers } => {
                for first in [true, false] {
                    let mut half = self.clone();
                    let words = if first { &mut half.decided } else { &mut half.wanted };
                    words.insert(*class, *answers);
                    seen.push(half);
                }
                after.decided.insert(*class, *answers);
                after.wanted.insert(*class, *answers);
            }
            Write::Cgroup { id, state, .. } => drop(after.cgroups.insert(*id, state.class_id)),
            Write::Remove { id } => drop(after.cgroups.remove(id)),
        }
        seen.push(after);
        seen
    }
}

fn answers(each: &[u8]) -> ClassAnswers {
    let mut answers = ClassAnswers::default();
    for (scope, answer) in (0..).zip(each) {
        answers.set(scope, [Answer::Unknown, Answer::NotSelected, Answer::Selected][usize::from(*answer)]);
    }
    answers
}

fn all_scopes() -> ClassAnswers {
    answers(&[1; SCOPES as usize])
}

fn groups(wanted: &BTreeMap<u64, ClassAnswers>) -> Vec<DesiredGroup> {
    wanted.iter().map(|(id, answers)| DesiredGroup { answers: *answers, flags: 1, cgroups: vec![*id] }).collect()
}

/// What is desired of each cgroup, and where in the writes a cgroup is made below another one.
type Step = (BTreeMap<u64, ClassAnswers>, Option<(Index, Index)>);

fn any_step() -> impl Strategy<Value = Step> {
    let each = collection::vec(0_u8..3, SCOPES as usize).prop_map(|each| answers(&each));
    (collection::btree_map(1_u64..8, each, 0..7), prop::option::of(any::<(Index, Index)>()))
}

/// The first of those that the kernel makes below another cgroup, whose class they inherit: one in each step at most.
const CHILD: u64 = 100;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_cgroup_has_another_answer_than_before_or_after(steps in collection::vec(any_step(), 1..8)) {
        let (mut table, mut kernel) = (ClassTable::default(), Kernel::default());
        let mut before = BTreeMap::<u64, ClassAnswers>::new();
        let mut parent_of_child: Option<u64> = None;
        for (step, (mut wanted, child)) in (CHILD..).zip(steps) {
            // The record of the child of the step before has been read: it is answered as its parent, or gone with it.
            match parent_of_child.take().and_then(|parent| wanted.get(&parent).copied()) {
                Some(answers) => drop(wanted.insert(step - 1, answers)),
                None => drop(kernel.cgroups.remove(&(step - 1))),
            }
            let begin = kernel.clone();
            let (writes, unclassed) = table.plan(&groups(&wanted), &all_scopes());
            prop_assert_eq!(unclassed, 0);
            let is_possible = !writes.is_empty() && !before.is_empty();
            let child = child.filter(|_| is_possible).map(|(at, parent)| {
                (at.index(writes.len()), *parent.get(&before.keys().copied().collect::<Vec<_>>()))
            });
            for (at, write) in writes.iter().enumerate() {
                if let Some((_, parent)) = child.filter(|(made, _)| *made == at)
                    && let Some(&class) = kernel.cgroups.get(&parent)
                {
                    kernel.cgroups.insert(step, class);
                    parent_of_child = Some(parent);
                }
                for seen in kernel.during(write) {
                    for (id, now) in &wanted {
                        for scope in 0..SCOPES {
                            let allowed = [begin.answer(*id, scope), now.answer(scope)];
                            let answers = [seen.answer(*id, scope), seen.row_answer(*id, scope)];
                            prop_assert!(answers.iter().all(|answer| allowed.contains(answer)), "{write:?}: {id} {scope}");
                        }
                    }
                    let parent = parent_of_child.unwrap_or_default();
                    if let (Some(old), Some(now)) = (before.get(&parent), wanted.get(&parent)) {
                        for scope in 0..SCOPES {
                            let stays = [old, now].iter().all(|answers| answers.answer(scope) == Answer::Selected);
                            prop_assert!(!stays || seen.answer(step, scope) == Answer::Selected, "{write:?}: child {scope}");
                        }
                    }
                    kernel = seen;
                }
            }
            for (id, answers) in &wanted {
                for scope in 0..SCOPES {
                    prop_assert_eq!(kernel.answer(*id, scope), answers.answer(scope));
                    prop_assert_eq!(kernel.row_answer(*id, scope), answers.answer(scope));
                }
            }
            // Two classes with the same answers, of which one could not wait for the other, become one.
            for write in table.plan(&groups(&wanted), &all_scopes()).0 {
                prop_assert!(matches!(write, Write::Cgroup { .. }), "{write:?}");
                kernel = kernel.during(&write).pop().unwrap();
            }
            prop_assert_eq!(table.plan(&groups(&wanted), &all_scopes()).0, vec![], "nothing is left to do");
            before = wanted;
            table.tick();
        }
    }

    #[test]
    fn rows_are_written_before_the_cgroups_that_get_them(steps in collection::vec(any_step(), 1..8)) {
        let (mut table, mut rows) = (ClassTable::default(), HashMap::<u32, ClassAnswers>::new());
        let mut classes = HashMap::<u32, ClassAnswers>::new();
        for (wanted, _) in steps {
            for write in table.plan(&groups(&wanted), &all_scopes()).0 {
                match write {
                    Write::Notify { class, answers } => drop(rows.insert(class, answers)),
                    Write::Class { class, answers } => drop(classes.insert(class, answers)),
                    Write::Cgroup { id, state, .. } => {
                        prop_assert_eq!(rows.get(&state.class_id), Some(&wanted[&id]));
                        prop_assert_eq!(classes.get(&state.class_id), Some(&wanted[&id]));
                    }
                    Write::Remove { .. } => {}
                }
            }
            table.tick();
        }
    }
}

fn one_each(count: u64) -> BTreeMap<u64, ClassAnswers> {
    let bits = |number: u64| (0..12).map(|bit| 1 + (number >> bit & 1) as u8).collect::<Vec<_>>();
    (0..count).map(|number| (number + 1, answers(&bits(number)))).collect()
}

fn class_of(writes: &[Write], cgroup: u64) -> Option<u32> {
    writes.iter().rev().find_map(|write| match write {
        Write::Cgroup { id, state, .. } if *id == cgroup => Some(state.class_id),
        _ => None,
    })
}

#[test]
fn unused_class_id_is_reused_after_three_ticks() {
    let mut table = ClassTable::default();
    let one = |answer| BTreeMap::from([(7, answers(&[answer])), (8, answers(&[1, 1]))]);
    let first = class_of(&table.plan(&groups(&one(2)), &all_scopes()).0, 7);
    let gone = BTreeMap::from([(8, answers(&[1, 1]))]);
    table.plan(&groups(&gone), &all_scopes());
    for _ in 0..2 {
        table.tick();
        let other = BTreeMap::from([(8, answers(&[1, 1])), (9, answers(&[2, 2]))]);
        assert_ne!(class_of(&table.clone().plan(&groups(&other), &all_scopes()).0, 9), first);
    }
    table.tick();
    let other = BTreeMap::from([(8, answers(&[1, 1])), (9, answers(&[2, 2]))]);
    assert_eq!(class_of(&table.plan(&groups(&other), &all_scopes()).0, 9), first);
}

#[test]
fn cgroups_beyond_the_last_class_are_undecided_and_counted() {
    let mut table = ClassTable::default();
    let desired = groups(&one_each(1030));
    let (writes, unclassed) = table.plan(&desired, &answers(&[1; 12]));
    assert_eq!((unclassed, table.unclassed()), (7, 7));
    let undecided = |write: &&Write| matches!(write, Write::Cgroup { state, .. } if state.class_id == CLASS_UNDECIDED);
    assert_eq!(writes.iter().filter(undecided).count(), 7);
    assert_eq!(table.plan(&desired, &answers(&[1; 12])), (vec![], 0), "counted once");
    // They get their classes once others are gone.
    table.plan(&desired[7..], &answers(&[1; 12]));
    (0..3).for_each(|_| table.tick());
    table.plan(&desired[7..], &answers(&[1; 12]));
    assert_eq!(table.unclassed(), 0);
}

#[test]
fn scope_that_divides_no_class_changes_it_in_place() {
    let mut table = ClassTable::default();
    let pods = |answer: u8| (1..500).map(|id| (id, answers(&[2, answer]))).collect::<BTreeMap<u64, _>>();
    table.plan(&groups(&pods(0)), &all_scopes());
    let (writes, _) = table.plan(&groups(&pods(2)), &all_scopes());
    assert!(writes.len() <= 3, "{writes:?}");
}

#[test]
fn new_scope_of_one_pod_leaves_the_class_to_the_others() {
    let mut table = ClassTable::default();
    let pods = |one: u8, others: u8| {
        let answer = |id| if id == 1 { one } else { others };
        (1..500).map(|id| (id, answers(&[2, answer(id)]))).collect::<BTreeMap<u64, _>>()
    };
    table.plan(&groups(&pods(0, 0)), &all_scopes());
    let (writes, _) = table.plan(&groups(&pods(2, 1)), &all_scopes());
    let cgroups = writes.iter().filter(|write| matches!(write, Write::Cgroup { .. })).count();
    assert_eq!(cgroups, 1, "{writes:?}");
}

#[test]
fn removed_scope_leaves_unused_classes_too() {
    let mut table = ClassTable::default();
    table.plan(&groups(&BTreeMap::from([(1, answers(&[2, 2]))])), &answers(&[1, 1]));
    table.plan(&[], &answers(&[1, 1]));
    let (writes, _) = table.plan(&[], &answers(&[1]));
    let Some(Write::Class { answers: left, .. }) = writes.last() else { panic!("{writes:?}") };
    assert_eq!([0, 1].map(|scope| left.answer(scope)), [Answer::Selected, Answer::Unknown]);
}

#[test]
fn refused_cgroup_keeps_its_entry_and_is_tried_again() {
    let mut table = ClassTable::default();
    let one = |answer| groups(&BTreeMap::from([(1, answers(&[answer]))]));
    table.plan(&one(1), &all_scopes());
    table.plan(&groups(&BTreeMap::from([(1, answers(&[1])), (2, answers(&[1]))])), &all_scopes());
    let both = groups(&BTreeMap::from([(1, answers(&[2])), (2, answers(&[1]))]));
    let (writes, _) = table.plan(&both, &all_scopes());
    let Some(Write::Cgroup { id: 1, before: Some(before), state }) = writes.last().cloned() else {
        panic!("{writes:?}")
    };
    table.restore_cgroup(1, Some(before));
    (0..5).for_each(|_| table.tick());
    assert!(table.classes().any(|(class, _)| class == before.class_id), "the kernel has it still");
    let again = CgroupState { class_id: state.class_id, flags: 1 };
    assert!(table.plan(&both, &all_scopes()).0.contains(&Write::Cgroup { id: 1, before: Some(before), state: again }));
}
