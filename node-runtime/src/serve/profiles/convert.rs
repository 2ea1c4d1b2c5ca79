//! Converts a profile of the application layer to its message.

use jiff::Timestamp;
use trilobite_api::profiles::{Profile, ProfileState};

use crate::layers::application::{ProfileCounts, ProfileMeta, cpu::profiles::ProfileProgress};

pub(super) fn profile(standing: ProfileProgress) -> Profile {
    let (meta, running) = match standing {
        ProfileProgress::Running(meta) => (meta, true),
        ProfileProgress::Finished(meta) => (meta, false),
    };
    let state = match (running, meta.folded_bytes, meta.problem.is_empty()) {
        (true, ..) => ProfileState::Running,
        // The empty profile of an idle pod is a result.
        (false, 0, false) => ProfileState::Failed,
        (false, ..) => ProfileState::Done,
    };
    let ProfileMeta { name, node, frequency_hz, started, ended, counts, pods, problem, folded_bytes, svg_bytes } = meta;
    let ProfileCounts { samples, truncated, unmapped, lost, others, undecided, worker_deaths, files_dropped } = counts;
    Profile {
        name,
        node,
        state: state.into(),
        frequency_hz,
        started: Some(timestamp(started)),
        ended: (ended > started).then(|| timestamp(ended)),
        samples,
        truncated,
        unmapped,
        lost,
        others,
        undecided,
        worker_deaths,
        pods,
        problem,
        folded_bytes,
        svg_bytes,
        files_dropped,
    }
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    // Before 1970 nanoseconds would be negative.
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_profile_with_a_problem_has_failed() {
        let meta = ProfileMeta { problem: "the worker died".into(), ..ProfileMeta::default() };
        assert_eq!(profile(ProfileProgress::Finished(meta.clone())).state(), ProfileState::Failed);
        assert_eq!(profile(ProfileProgress::Running(meta.clone())).state(), ProfileState::Running);
        assert_eq!(
            profile(ProfileProgress::Finished(ProfileMeta { folded_bytes: 9, ..meta })).state(),
            ProfileState::Done
        );
    }

    #[test]
    fn empty_profile_of_an_idle_pod_is_done() {
        assert_eq!(profile(ProfileProgress::Finished(ProfileMeta::default())).state(), ProfileState::Done);
    }
}
