//! Which cgroup has which class, and the writes that bring the kernel's maps to what is desired: rows before the cgroups that get
//! them, so that at no moment a selected cgroup is unselected. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use trilobite_node_ebpf::{CLASS_UNDECIDED, CLASSES_MAX, CgroupState};

use super::answers::ClassAnswers;

/// How many ticks pass before the id of an unused class is given to another one. A cgroup that was made while its parent changed
/// its class has the old id until its record is read, or, if that was lost, until the next tick finds it by a scan.
const REUSE_AFTER_TICKS: u64 = 3;

/// Cgroups for which every scope has the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::identity) struct DesiredGroup {
    pub(in crate::identity) answers: ClassAnswers,
    /// Flags of the cgroups' state, `cgroup_flag`.
    pub(in crate::identity) flags: u32,
    pub(in crate::identity) cgroups: Vec<u64>,
}

/// One write to the kernel. They are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::identity) enum Write {
    /// Hooks write their rows of this class.
    Notify { class: u32, answers: ClassAnswers },
    /// The class's entry in the map of classes.
    Class { class: u32, answers: ClassAnswers },
    /// A cgroup's entry in the map of cgroups, and the one that it replaces.
    Cgroup { id: u64, state: CgroupState, before: Option<CgroupState> },
    /// A cgroup that is gone, or that the entries above it speak for.
    Remove { id: u64 },
}

#[derive(Clone, Debug)]
struct Class {
    answers: ClassAnswers,
    /// Since when no cgroup has it.
    unused_since: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(in crate::identity) struct ClassTable {
    classes: BTreeMap<u32, Class>,
    cgroups: HashMap<u64, CgroupState>,
    /// Cgroups for which there was no class.
    unclassed: HashSet<u64>,
    ticks: u64,
}

/// A desired cgroup with the class that it has; `answers` is an index into the distinct answers.
struct Member {
    id: u64,
    flags: u32,
    answers: usize,
    class: Option<u32>,
}

/// Where cgroups with the same answers find them.
#[derive(Clone, Copy, Default)]
struct Target {
    /// A class that has these answers already.
    unchanged: Option<u32>,
    /// A class whose answers change to these.
    changed: Option<u32>,
    /// A class of its own, new.
    fresh: Option<u32>,
}

impl ClassTable {
    /// The writes that make the kernel's maps equal to `desired`, and how many cgroups newly found no class: they have class 0,
    /// where nothing is decided. `scopes` has a decision for each scope that exists.
    pub(in crate::identity) fn plan(&mut self, desired: &[DesiredGroup], scopes: &ClassAnswers) -> (Vec<Write>, u64) {
        let mut writes = Vec::new();
        let living: HashSet<u64> = desired.iter().flat_map(|group| &group.cgroups).copied().collect();
        let gone = self.cgroups.keys().filter(|id| !living.contains(id)).copied().collect::<Vec<_>>();
        for id in gone {
            self.cgroups.remove(&id);
            writes.push(Write::Remove { id });
        }
        self.unclassed.retain(|id| living.contains(id));

        let (distinct, members) = self.members(desired);
        let mut targets = vec![Target::default(); distinct.len()];
        let mut changed = self.choose_classes(&distinct, &members, &mut targets);
        self.choose_fresh(&distinct, &members, &mut targets, &changed, &mut writes);

        let (mut early, mut late, mut newly_unclassed) = (Vec::new(), Vec::new(), 0);
        for member in &members {
            let target = targets[member.answers];
            let (class, is_late) = place(member, &target, &changed);
            match class {
                Some(_) => drop(self.unclassed.remove(&member.id)),
                None => newly_unclassed += u64::from(self.unclassed.insert(member.id)),
            }
            let state = CgroupState { class_id: class.unwrap_or(CLASS_UNDECIDED), flags: member.flags };
            let before = self.cgroups.insert(member.id, state);
            if before != Some(state) {
                let write = Write::Cgroup { id: member.id, state, before };
                if is_late { late.push(write) } else { early.push(write) }
            }
        }
        writes.append(&mut early);
        self.restrict_unused(scopes, &mut changed);
        for (class, answers) in changed {
            self.change(class, answers, &mut writes);
        }
        writes.append(&mut late);
        self.mark_unused();
        (writes, newly_unclassed)
    }

    /// The kernel refused the new entry of a cgroup and has the one of before; the next plan tries again.
    pub(in crate::identity) fn restore_cgroup(&mut self, id: u64, before: Option<CgroupState>) {
        match before {
            Some(state) => self.cgroups.insert(id, state),
            None => self.cgroups.remove(&id),
        };
        self.mark_unused();
    }

    /// Frees the ids of classes that nothing can have any more. Called when the records of all cgroups are read.
    pub(in crate::identity) fn tick(&mut self) {
        self.ticks += 1;
        let ticks = self.ticks;
        self.classes.retain(|_, class| class.unused_since.is_none_or(|since| ticks < since + REUSE_AFTER_TICKS));
    }

    /// Every class that a cgroup has or may have.
    pub(in crate::identity) fn classes(&self) -> impl Iterator<Item = (u32, &ClassAnswers)> {
        self.classes.iter().map(|(id, class)| (*id, &class.answers))
    }

    /// Cgroups for which there is no class.
    pub(in crate::identity) fn unclassed(&self) -> usize {
        self.unclassed.len()
    }

    fn members(&self, desired: &[DesiredGroup]) -> (Vec<ClassAnswers>, Vec<Member>) {
        let (mut distinct, mut index) = (Vec::new(), HashMap::new());
        let mut members = Vec::new();
        for group in desired {
            let answers = *index.entry(group.answers).or_insert_with(|| {
                distinct.push(group.answers);
                distinct.len() - 1
            });
            members.extend(group.cgroups.iter().map(|&id| {
                let class = self.cgroups.get(&id).map(|state| state.class_id).filter(|class| *class != CLASS_UNDECIDED);
                Member { id, flags: group.flags, answers, class }
            }));
        }
        (distinct, members)
    }

    /// Chooses among the classes that exist: those that stay as they are, and those whose answers change in their place. Returns
    /// the latter with their new answers.
    fn choose_classes(
        &self,
        distinct: &[ClassAnswers],
        members: &[Member],
        targets: &mut [Target],
    ) -> BTreeMap<u32, ClassAnswers> {
        // For each class how many of its cgroups are to have which answers.
        let mut wishes: BTreeMap<u32, BTreeMap<usize, usize>> = BTreeMap::new();
        for member in members {
            if let Some(class) = member.class {
                *wishes.entry(class).or_default().entry(member.answers).or_default() += 1;
            }
        }
        let index: HashMap<&ClassAnswers, usize> =
            distinct.iter().enumerate().map(|(at, answers)| (answers, at)).collect();
        let mut by_size: Vec<(u32, usize)> = self
            .classes
            .keys()
            .map(|class| (*class, wishes.get(class).map_or(0, |wish| wish.values().sum())))
            .collect();
        by_size.sort_by_key(|(class, size)| (Reverse(*size), *class));
        let mut settled = ClassAnswers::default();
        self.classes.values().for_each(|class| settled.add_decided(&class.answers));
        for (class, _) in &by_size {
            if let Some(at) = self.classes.get(class).and_then(|class| index.get(&class.answers)) {
                targets[*at].unchanged.get_or_insert(*class);
            }
        }
        let mut changed = BTreeMap::new();
        for (class, _) in by_size {
            let (Some(wish), Some(known)) = (wishes.get(&class), self.classes.get(&class)) else { continue };
            let stays = |at: &usize| targets[*at].unchanged == Some(class) || wish.contains_key(at);
            if index.get(&known.answers).is_some_and(stays) {
                continue;
            }
            let Some((&most, _)) = wish.iter().max_by_key(|(at, count)| (**count, Reverse(**at))) else { continue };
            let harms = |other: &&usize| known.answers.change_harms(&distinct[most], &distinct[**other], &settled);
            let target = &mut targets[most];
            if target.unchanged.is_some()
                || target.changed.is_some()
                || wish.keys().filter(|at| **at != most).any(|at| harms(&at))
            {
                continue;
            }
            target.changed = Some(class);
            changed.insert(class, distinct[most]);
        }
        changed
    }

    /// Gives new classes to answers that no class has, those of most cgroups first.
    fn choose_fresh(
        &mut self,
        distinct: &[ClassAnswers],
        members: &[Member],
        targets: &mut [Target],
        changed: &BTreeMap<u32, ClassAnswers>,
        writes: &mut Vec<Write>,
    ) {
        let mut needs: BTreeMap<usize, usize> = BTreeMap::new();
        for member in members.iter().filter(|member| place(member, &targets[member.answers], changed).0.is_none()) {
            *needs.entry(member.answers).or_default() += 1;
        }
        let mut needs: Vec<(usize, usize)> = needs.into_iter().collect();
        needs.sort_by_key(|(at, count)| (Reverse(*count), *at));
        let mut free = (CLASS_UNDECIDED + 1..CLASSES_MAX)
            .filter(|id| !self.classes.contains_key(id))
            .collect::<Vec<_>>()
            .into_iter();
        for ((at, _), class) in needs.into_iter().zip(free.by_ref()) {
            let answers = distinct[at];
            targets[at].fresh = Some(class);
            self.classes.insert(class, Class { answers, unused_since: None });
            writes.extend([Write::Notify { class, answers }, Write::Class { class, answers }]);
        }
    }

    /// Scopes that were removed leave unused classes too: their ids may be given to other scopes.
    fn restrict_unused(&self, scopes: &ClassAnswers, changed: &mut BTreeMap<u32, ClassAnswers>) {
        for (id, class) in &self.classes {
            let kept = class.answers.restricted_to(scopes);
            if kept != class.answers {
                changed.entry(*id).or_insert(kept);
            }
        }
    }

    /// Changes the answers of a class in its place.
    fn change(&mut self, class: u32, answers: ClassAnswers, writes: &mut Vec<Write>) {
        let Some(known) = self.classes.get_mut(&class) else { return };
        let between = known.answers.between(&answers);
        writes.push(Write::Notify { class, answers });
        if between != answers && between != known.answers {
            writes.push(Write::Class { class, answers: between });
        }
        writes.push(Write::Class { class, answers });
        known.answers = answers;
    }

    fn mark_unused(&mut self) {
        let used: HashSet<u32> = self.cgroups.values().map(|state| state.class_id).collect();
        for (id, class) in &mut self.classes {
            class.unused_since = if used.contains(id) { None } else { class.unused_since.or(Some(self.ticks)) };
        }
    }
}

/// The class of a cgroup, and whether it may have it only after the class has changed; none if it needs one that is new.
fn place(member: &Member, target: &Target, changed: &BTreeMap<u32, ClassAnswers>) -> (Option<u32>, bool) {
    // It can wait until its target has changed, unless the class that it has until then changes as well. One that the table does
    // not know has its parent's, whichever that is.
    let can_wait = |target: u32| match member.class {
        Some(class) => !changed.contains_key(&class),
        None => changed.keys().all(|class| *class == target),
    };
    match *target {
        Target { changed: Some(class), .. } if member.class == Some(class) => (Some(class), true),
        Target { unchanged: Some(class), .. } => (Some(class), false),
        Target { changed: Some(class), .. } if can_wait(class) => (Some(class), true),
        Target { fresh, .. } => (fresh, false),
    }
}
