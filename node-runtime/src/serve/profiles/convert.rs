//! Converts a profile of the application layer to its message.

use trilobite_api::profiles::{Profile, ProfileState};

use crate::{layers::application::cpu::profiles::ProfileProgress, serve::timestamps::timestamp};

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
    let counts = meta.counts;
    Profile {
        state: state.into(),
        frequency_hz: meta.frequency_hz,
        started: Some(timestamp(meta.started)),
        ended: (meta.ended > meta.started).then(|| timestamp(meta.ended)),
        samples: counts.samples,
        truncated: counts.truncated,
        unmapped: counts.unmapped,
        lost: counts.lost,
        others: counts.others,
        undecided: counts.undecided,
        worker_deaths: counts.worker_deaths,
        files_dropped: counts.files_dropped,
        caller_missing: counts.caller_missing,
        remapped: counts.remapped,
        mappings_dropped: counts.mappings_dropped,
        cpu_limit_millis: meta.cpu_limit_millis,
        folded_bytes: meta.folded_bytes,
        svg_bytes: meta.svg_bytes,
        pods: meta.pods,
        problem: meta.problem,
        name: meta.name,
        node: meta.node,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::application::ProfileMeta;

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
