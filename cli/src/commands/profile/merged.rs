//! Merges the results of several nodes. Pure.

use trilobite_api::profiles::Profile;
use trilobite_flame_graph::{ProfileSummary, ProfileTitle};
use trilobite_folded_stacks::{Folded, pprof::Sampling};

use super::fetch::NodeResult;
use crate::commands::profile_error::ProfileError;

#[derive(Debug, Default)]
pub(super) struct MergedProfile {
    pub(super) folded: Folded,
    /// What is missing or wrong, of all nodes together.
    pub(super) summary: ProfileSummary,
    /// Each node, and for how many milliseconds it sampled.
    pub(super) nodes: Vec<(String, u64)>,
    pub(super) sampling: Sampling,
    /// CPU limit of the pod, if one node sampled one pod.
    cpu_limit_millis: Option<u64>,
    /// Problems that nodes report.
    pub(super) problems: Vec<String>,
}

impl MergedProfile {
    pub(super) fn new(results: Vec<NodeResult>) -> Result<Self, ProfileError> {
        let mut merged = Self::default();
        if let [only] = results.as_slice() {
            merged.cpu_limit_millis = only.profile.cpu_limit_millis;
        }
        for NodeResult { node, profile, folded } in results {
            merged.folded.add(&folded).map_err(|source| ProfileError::Folded { node: node.clone(), source })?;
            merged.add_counts(node, &profile);
        }
        merged.nodes.sort();
        Ok(merged)
    }

    /// What the read API has merged: the profiles of the nodes, and the stacks of all of them.
    pub(super) fn from_read_api(profiles: Vec<Profile>, folded: &str) -> Result<Self, ProfileError> {
        let mut merged = Self::default();
        if let [only] = profiles.as_slice() {
            merged.cpu_limit_millis = only.cpu_limit_millis;
        }
        merged.folded.add(folded).map_err(|source| ProfileError::Folded { node: "of all".into(), source })?;
        profiles.into_iter().for_each(|profile| merged.add_counts(profile.node.clone(), &profile));
        merged.nodes.sort();
        Ok(merged)
    }

    fn add_counts(&mut self, node: String, profile: &Profile) {
        let summary = &mut self.summary;
        for (sum, part) in [
            (&mut summary.samples, profile.samples),
            (&mut summary.truncated, profile.truncated),
            (&mut summary.caller_missing, profile.caller_missing),
            (&mut summary.lost, profile.lost),
            (&mut summary.undecided, profile.undecided),
            (&mut summary.unmapped, profile.unmapped),
            (&mut summary.remapped, profile.remapped),
            (&mut summary.files_dropped, profile.files_dropped),
            (&mut summary.mappings_dropped, profile.mappings_dropped),
        ] {
            *sum = sum.saturating_add(part);
        }
        let nanoseconds = |time: &prost_types::Timestamp| {
            time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into())
        };
        let started = profile.started.as_ref().map_or(0, nanoseconds);
        let ended = profile.ended.as_ref().map_or(started, nanoseconds);
        let sampled_ms = u64::try_from(ended.saturating_sub(started)).unwrap_or_default() / 1_000_000;
        let sampling = &mut self.sampling;
        sampling.frequency_hz = sampling.frequency_hz.max(profile.frequency_hz);
        sampling.sampled_ms = sampling.sampled_ms.max(sampled_ms);
        if self.nodes.is_empty() || started < sampling.started_ns {
            sampling.started_ns = started;
        }
        if !profile.problem.is_empty() {
            self.problems.push(format!("{node}: {}", profile.problem));
        }
        self.nodes.push((node, sampled_ms));
    }

    /// Title of the flame graph, also printed for the user.
    pub(super) fn title(&self, target: &str) -> ProfileTitle {
        ProfileTitle {
            target: target.to_owned(),
            nodes: self.nodes.iter().map(|(node, _)| node.clone()).collect(),
            cpu_limit_millis: self.cpu_limit_millis,
            samples: self.summary.samples,
            lost: self.summary.lost,
            frequency_hz: self.sampling.frequency_hz,
            sampled_ms: self.sampling.sampled_ms,
        }
    }

    /// Why there is no sample. `asked_ms` is the time for which samples were asked for, if that is known.
    pub(super) fn why_empty(&self, asked_ms: Option<u64>) -> String {
        let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
        let short: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, sampled_ms)| asked_ms.is_some_and(|asked_ms| sampled_ms.saturating_mul(2) < asked_ms))
            .map(|(node, sampled_ms)| format!("{node} sampled for {}", seconds(*sampled_ms)))
            .collect();
        match asked_ms {
            Some(asked_ms) if !short.is_empty() => {
                format!("{} of the {} that were asked for, because it is busy", short.join(", "), seconds(asked_ms))
            }
            _ => format!("it used no CPU time in {}", seconds(self.sampling.sampled_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn result(node: &str, folded: &str, samples: u64, truncated: u64) -> NodeResult {
        let profile = Profile {
            samples,
            truncated,
            lost: 1,
            frequency_hz: 49,
            started: at(100),
            ended: at(110),
            cpu_limit_millis: Some(300),
            ..Profile::default()
        };
        NodeResult { node: node.into(), profile, folded: folded.into() }
    }

    #[test]
    fn nodes_are_added_up_and_sorted() {
        let mut second = result("alder", "main 1\n", 1, 1);
        (second.profile.started, second.profile.ended) = (at(90), at(95));
        let merged = MergedProfile::new(vec![result("birch", "main 3\n", 3, 0), second]).unwrap();
        assert_eq!(merged.nodes, [("alder".to_owned(), 5_000), ("birch".to_owned(), 10_000)]);
        assert_eq!((merged.folded.samples(), merged.sampling.started_ns), (4, 90_000_000_000));
        assert_eq!(
            merged.summary.to_string(),
            "25.0 % of the stacks truncated (no frame pointers, or too deep), 2 lost"
        );
        // The limits of two pods are not those of one.
        let title = "CPU of shop/till on alder, birch: 0.01 CPUs, 4 samples at 49 Hz in 10.0 s";
        assert_eq!(merged.title("shop/till").to_string(), title);
    }

    #[test]
    fn read_api_and_agents_give_the_same_profile() {
        let results = || vec![result("birch", "main 3\n", 3, 0), result("alder", "main 1\n", 1, 1)];
        let by_agents = MergedProfile::new(results()).unwrap();
        let profiles = results().into_iter().map(|one| Profile { node: one.node, ..one.profile }).collect();
        let by_api = MergedProfile::from_read_api(profiles, "main 4\n").unwrap();
        assert_eq!(format!("{by_api:?}"), format!("{by_agents:?}"));
    }

    #[test]
    fn title_of_one_pod_says_its_limit() {
        let merged = MergedProfile::new(vec![result("birch", "main 3\n", 146, 0)]).unwrap();
        let title = "CPU of shop/till-1 on birch: 0.30 CPUs of a limit of 0.3, 146 samples at 49 Hz in 10.0 s";
        assert_eq!(merged.title("shop/till-1").to_string(), title);
    }

    #[test]
    fn counts_of_all_nodes_are_explained() {
        let mut one = result("birch", "main 3\n", 4, 0);
        (one.profile.unmapped, one.profile.files_dropped) = (2, 3);
        let mut other = result("alder", "main 3\n", 4, 0);
        (other.profile.remapped, other.profile.caller_missing, other.profile.mappings_dropped) = (5, 4, 7);
        let summary = MergedProfile::new(vec![one, other]).unwrap().summary.to_string();
        for part in [
            "50.0 % without the caller of their innermost function",
            "2 of processes whose code could not be looked up",
            "3 files without symbols",
            "5 of code that was mapped anew meanwhile",
            "7 mappings not read",
        ] {
            assert!(summary.contains(part), "{part}: {summary}");
        }
    }

    #[test]
    fn node_that_did_not_sample_is_not_called_idle() {
        let mut busy = result("birch", "", 0, 0);
        (busy.profile.started, busy.profile.ended) = (at(100), None);
        let merged = MergedProfile::new(vec![busy]).unwrap();
        let expected = "birch sampled for 0.0 s of the 15.0 s that were asked for, because it is busy";
        assert_eq!(merged.why_empty(Some(15_000)), expected);
        let idle = MergedProfile::new(vec![result("birch", "", 0, 0)]).unwrap();
        assert_eq!(idle.why_empty(Some(10_000)), "it used no CPU time in 10.0 s");
        assert_eq!(idle.why_empty(None), "it used no CPU time in 10.0 s");
    }

    #[test]
    fn error_of_a_wrong_stack_names_the_node() {
        let error = MergedProfile::new(vec![result("birch", "main three\n", 3, 0)]).unwrap_err();
        assert!(error.to_string().starts_with("node birch: line 1 is not a folded stack"), "{error}");
    }
}
