//! The results of several nodes as one. Pure.

use super::{ProfileError, fetch::Made};
use crate::fold::merge::Folded;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) folded: Folded,
    pub(super) nodes: Vec<String>,
    pub(super) samples: u64,
    pub(super) truncated: u64,
    pub(super) lost: u64,
    /// Samples that could not be counted to a pod.
    pub(super) undecided: u64,
    /// Samples without names, because their process could not be looked at.
    pub(super) unmapped: u64,
    /// Files in which samples fell, without names of functions.
    pub(super) files_dropped: u64,
    /// What nodes say went wrong.
    pub(super) problems: Vec<String>,
}

impl Sum {
    /// Adds up.
    pub(super) fn of(made: Vec<Made>) -> Result<Self, ProfileError> {
        let mut sum = Self::default();
        for Made { node, profile, folded } in made {
            sum.folded.add(&folded).map_err(|source| ProfileError::Folded { node: node.clone(), source })?;
            sum.samples = sum.samples.saturating_add(profile.samples);
            sum.truncated = sum.truncated.saturating_add(profile.truncated);
            sum.lost = sum.lost.saturating_add(profile.lost);
            sum.undecided = sum.undecided.saturating_add(profile.undecided);
            sum.unmapped = sum.unmapped.saturating_add(profile.unmapped);
            sum.files_dropped = sum.files_dropped.saturating_add(profile.files_dropped);
            if !profile.problem.is_empty() {
                sum.problems.push(format!("{node}: {}", profile.problem));
            }
            sum.nodes.push(node);
        }
        sum.nodes.sort();
        Ok(sum)
    }

    /// For the picture and for the user.
    pub(super) fn words(&self) -> String {
        let share = if self.samples == 0 { 0.0 } else { self.truncated as f64 * 100.0 / self.samples as f64 };
        let mut text = format!(
            "{} samples, {share:.1} % of the stacks truncated (no frame pointers, or too deep), {} lost",
            self.samples, self.lost
        );
        if self.undecided > 0 {
            text.push_str(&format!(", {} of an unknown pod", self.undecided));
        }
        if self.unmapped > 0 {
            text.push_str(&format!(", {} of processes whose code could not be looked up", self.unmapped));
        }
        if self.files_dropped > 0 {
            text.push_str(&format!(", {} files without symbols", self.files_dropped));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::trilobite::Profile;

    fn made(node: &str, folded: &str, samples: u64, truncated: u64) -> Made {
        let profile = Profile { samples, truncated, lost: 1, ..Profile::default() };
        Made { node: node.into(), profile, folded: folded.into() }
    }

    #[test]
    fn nodes_are_added_up_and_named_in_order() {
        let sum = Sum::of(vec![made("birch", "main 3\n", 3, 0), made("alder", "main 1\n", 1, 1)]).unwrap();
        assert_eq!(sum.nodes, ["alder", "birch"]);
        assert_eq!(sum.folded.samples(), 4);
        assert_eq!(sum.words(), "4 samples, 25.0 % of the stacks truncated (no frame pointers, or too deep), 2 lost");
    }

    #[test]
    fn samples_without_names_say_why() {
        let mut one = made("birch", "main 3\n", 3, 0);
        one.profile.unmapped = 2;
        let words = Sum::of(vec![one]).unwrap().words();
        assert!(words.ends_with(", 2 of processes whose code could not be looked up"), "{words}");
    }

    #[test]
    fn files_that_no_node_could_read_are_told() {
        let mut one = made("birch", "main 3\n", 3, 0);
        one.profile.files_dropped = 2;
        let sum = Sum::of(vec![one]).unwrap();
        assert!(sum.words().ends_with(", 1 lost, 2 files without symbols"), "{}", sum.words());
    }

    #[test]
    fn stacks_that_cannot_be_read_name_their_node() {
        let error = Sum::of(vec![made("birch", "main three\n", 3, 0)]).unwrap_err();
        assert!(error.to_string().starts_with("node birch: line 1 is not a folded stack"), "{error}");
    }
}
