//! What the label's words stand for. Pure.

use trilobite_crds::planner::budget::MIN_PROFILE_BUDGET;

use super::dereference::{Existing, Found};

/// Words that stand for something.
pub(super) const KNOWN: [&str; 1] = ["cpu"];
/// What an AppProfile asks for by default.
const DEFAULT_BUDGET: i64 = 32 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Valid {
    NotAsked,
    /// A CPU profile with this budget.
    Cpu {
        memory_budget_bytes: i64,
    },
    /// A word that stands for nothing.
    Unknown {
        word: String,
    },
    /// An AppProfile of that name is somebody else's.
    Conflict,
}

pub(super) fn run(label: Option<&str>, found: &Found) -> Valid {
    let Some(label) = label else { return Valid::NotAsked };
    if let Some(word) = label.split('.').find(|word| !KNOWN.contains(word)) {
        return Valid::Unknown { word: word.to_owned() };
    }
    if found.existing == Existing::Foreign {
        return Valid::Conflict;
    }
    let most = found.budget.unwrap_or(DEFAULT_BUDGET).max(MIN_PROFILE_BUDGET);
    Valid::Cpu { memory_budget_bytes: DEFAULT_BUDGET.min(most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_there() -> Found {
        Found { existing: Existing::None, budget: None }
    }

    #[test]
    fn the_word_cpu_asks_for_a_cpu_profile_within_the_stacks_budget() {
        assert_eq!(run(Some("cpu"), &nothing_there()), Valid::Cpu { memory_budget_bytes: 32 << 20 });
        let small = Found { existing: Existing::None, budget: Some(16 << 20) };
        assert_eq!(run(Some("cpu"), &small), Valid::Cpu { memory_budget_bytes: 16 << 20 });
    }

    #[test]
    fn one_unknown_word_among_known_ones_makes_nothing() {
        assert_eq!(run(Some("cpu.http"), &nothing_there()), Valid::Unknown { word: "http".into() });
        assert_eq!(run(Some(""), &nothing_there()), Valid::Unknown { word: String::new() });
    }

    #[test]
    fn an_app_profile_that_somebody_made_by_hand_is_left_alone() {
        let found = Found { existing: Existing::Foreign, budget: None };
        assert_eq!(run(Some("cpu"), &found), Valid::Conflict);
        assert_eq!(run(None, &found), Valid::NotAsked);
    }
}
