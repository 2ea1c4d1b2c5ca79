//! Filters by the capability sets of a process at its exec.

use trilobite_api::tetragon as api;

use crate::identity::Process;

/// The sets that are named must all hold.
#[derive(Debug)]
pub(super) struct CapabilityFilter {
    permitted: Option<Condition>,
    effective: Option<Condition>,
    inheritable: Option<Condition>,
}

/// Capabilities as bits.
#[derive(Debug, PartialEq)]
enum Condition {
    Any(u64),
    All(u64),
    Exactly(u64),
    None(u64),
}

impl CapabilityFilter {
    pub(super) fn new(from: &api::CapFilter) -> Result<Self, String> {
        let condition = |set: &Option<api::CapFilterSet>, name: &str| {
            let parsed = set.as_ref().map(Condition::new).transpose();
            parsed.map_err(|reason| format!("{name}: {reason}"))
        };
        Ok(Self {
            permitted: condition(&from.permitted, "permitted")?,
            effective: condition(&from.effective, "effective")?,
            inheritable: condition(&from.inheritable, "inheritable")?,
        })
    }

    /// Never for a process whose exec was lost.
    pub(super) fn holds(&self, process: &Process) -> bool {
        let credentials = &process.credentials;
        let holds = |condition: &Option<Condition>, set| condition.as_ref().is_none_or(|it| it.holds(set));
        process.is_known()
            && holds(&self.permitted, credentials.permitted)
            && holds(&self.effective, credentials.effective)
            && holds(&self.inheritable, credentials.inheritable)
    }
}

impl Condition {
    fn new(set: &api::CapFilterSet) -> Result<Self, String> {
        let api::CapFilterSet { any, all, exactly, none } = set;
        let lists = [("any", any), ("all", all), ("exactly", exactly), ("none", none)];
        let used: Vec<_> = lists.into_iter().filter(|(_, list)| !list.is_empty()).collect();
        let [(name, list)] = used[..] else {
            return Err(format!("exactly one of any, all, exactly and none can be set, not {}", used.len()));
        };
        let bits = list.iter().try_fold(0_u64, |bits, number| {
            let bit = u32::try_from(*number).ok().and_then(|number| 1_u64.checked_shl(number));
            bit.map(|bit| bits | bit).ok_or_else(|| format!("{name}: {number} is no capability"))
        })?;
        Ok(match name {
            "any" => Self::Any(bits),
            "all" => Self::All(bits),
            "exactly" => Self::Exactly(bits),
            _ => Self::None(bits),
        })
    }

    fn holds(&self, set: u64) -> bool {
        match self {
            Self::Any(bits) => set & bits != 0,
            Self::All(bits) => set & bits == *bits,
            Self::Exactly(bits) => set == *bits,
            Self::None(bits) => set & bits == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Credentials;

    const ADMIN: i32 = 21;
    const CHOWN: i32 = 0;

    fn holds(effective: api::CapFilterSet, has: &[i32]) -> bool {
        let filter = api::CapFilter { effective: Some(effective), ..api::CapFilter::default() };
        let bits = has.iter().fold(0, |bits, number| bits | 1 << number);
        let credentials = Credentials { effective: bits, permitted: u64::MAX, ..Credentials::default() };
        CapabilityFilter::new(&filter).unwrap().holds(&Process { credentials, ..Process::default() })
    }

    #[test]
    fn each_condition_compares_the_set() {
        let set = |any: &[i32], all: &[i32], exactly: &[i32], none: &[i32]| api::CapFilterSet {
            any: any.to_vec(),
            all: all.to_vec(),
            exactly: exactly.to_vec(),
            none: none.to_vec(),
        };
        let any = set(&[ADMIN, CHOWN], &[], &[], &[]);
        assert!(holds(any.clone(), &[ADMIN]) && !holds(any, &[7]));
        let all = set(&[], &[ADMIN, CHOWN], &[], &[]);
        assert!(holds(all.clone(), &[ADMIN, CHOWN, 7]) && !holds(all, &[ADMIN]));
        let exactly = set(&[], &[], &[ADMIN], &[]);
        assert!(holds(exactly.clone(), &[ADMIN]) && !holds(exactly, &[ADMIN, CHOWN]));
        let none = set(&[], &[], &[], &[ADMIN]);
        assert!(holds(none.clone(), &[CHOWN]) && !holds(none, &[ADMIN]));
    }

    #[test]
    fn set_without_or_with_two_conditions_is_refused() {
        let refused = |set| {
            let filter = api::CapFilter { permitted: Some(set), ..api::CapFilter::default() };
            CapabilityFilter::new(&filter).unwrap_err()
        };
        let text = "permitted: exactly one of any, all, exactly and none can be set, not ";
        assert_eq!(refused(api::CapFilterSet::default()), format!("{text}0"));
        let two = api::CapFilterSet { any: vec![1], none: vec![2], ..api::CapFilterSet::default() };
        assert_eq!(refused(two), format!("{text}2"));
        let number = api::CapFilterSet { any: vec![64], ..api::CapFilterSet::default() };
        assert_eq!(refused(number), "permitted: any: 64 is no capability");
    }

    #[test]
    fn process_with_a_lost_exec_has_no_capabilities() {
        let none = api::CapFilterSet { none: vec![ADMIN], ..api::CapFilterSet::default() };
        let filter = api::CapFilter { effective: Some(none), ..api::CapFilter::default() };
        let process = Process::unknown(crate::identity::ExecKey::default(), 1);
        assert!(!CapabilityFilter::new(&filter).unwrap().holds(&process));
    }
}
