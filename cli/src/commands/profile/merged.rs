//! Merges the results of several nodes. Pure.

use super::fetch::NodeResult;
use crate::{commands::profile_error::ProfileError, fold::merge::Folded};

#[derive(Debug, Default)]
pub(super) struct MergedProfile {
    pub(super) folded: Folded,
    pub(super) nodes: Vec<String>,
    pub(super) samples: u64,
    pub(super) truncated: u64,
    pub(super) lost: u64,
    /// Samples of cgroups whose pod is unknown.
    pub(super) undecided: u64,
    /// Samples without names, because their process could not be inspected.
    pub(super) unmapped: u64,
    /// Files with samples but without names of functions.
    pub(super) files_dropped: u64,
    /// Problems that nodes report.
    pub(super) problems: Vec<String>,
}

impl MergedProfile {
    pub(super) fn new(results: Vec<NodeResult>) -> Result<Self, ProfileError> {
        let mut merged = Self::default();
        for NodeResult { node, profile, folded } in results {
            merged.folded.add(&folded).map_err(|source| ProfileError::Folded { node: node.clone(), source })?;
            merged.samples = merged.samples.saturating_add(profile.samples);
            merged.truncated = merged.truncated.saturating_add(profile.truncated);
            merged.lost = merged.lost.saturating_add(profile.lost);
            merged.undecided = merged.undecided.saturating_add(profile.undecided);
            merged.unmapped = merged.unmapped.saturating_add(profile.unmapped);
            merged.files_dropped = merged.files_dropped.saturating_add(profile.files_dropped);
            if !profile.problem.is_empty() {
                merged.problems.push(format!("{node}: {}", profile.problem));
            }
            merged.nodes.push(node);
        }
        merged.nodes.sort();
        Ok(merged)
    }

    /// Subtitle of the flame graph, also printed for the user.
    pub(super) fn summary(&self) -> String {
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
    use trilobite_api::profiles::Profile;

    use super::*;

    fn result(node: &str, folded: &str, samples: u64, truncated: u64) -> NodeResult {
        let profile = Profile { samples, truncated, lost: 1, ..Profile::default() };
        NodeResult { node: node.into(), profile, folded: folded.into() }
    }

    #[test]
    fn nodes_are_added_up_and_sorted() {
        let merged =
            MergedProfile::new(vec![result("birch", "main 3\n", 3, 0), result("alder", "main 1\n", 1, 1)]).unwrap();
        assert_eq!(merged.nodes, ["alder", "birch"]);
        assert_eq!(merged.folded.samples(), 4);
        assert_eq!(
            merged.summary(),
            "4 samples, 25.0 % of the stacks truncated (no frame pointers, or too deep), 2 lost"
        );
    }

    #[test]
    fn samples_without_names_are_explained() {
        let mut one = result("birch", "main 3\n", 3, 0);
        one.profile.unmapped = 2;
        let summary = MergedProfile::new(vec![one]).unwrap().summary();
        assert!(summary.ends_with(", 2 of processes whose code could not be looked up"), "{summary}");
    }

    #[test]
    fn files_without_symbols_are_counted() {
        let mut one = result("birch", "main 3\n", 3, 0);
        one.profile.files_dropped = 2;
        let merged = MergedProfile::new(vec![one]).unwrap();
        assert!(merged.summary().ends_with(", 1 lost, 2 files without symbols"), "{}", merged.summary());
    }

    #[test]
    fn error_of_a_wrong_stack_names_the_node() {
        let error = MergedProfile::new(vec![result("birch", "main three\n", 3, 0)]).unwrap_err();
        assert!(error.to_string().starts_with("node birch: line 1 is not a folded stack"), "{error}");
    }
}
