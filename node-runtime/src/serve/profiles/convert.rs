//! A profile of the application layer as the message that stands for it.

use jiff::Timestamp;

use crate::{
    layers::application::{Counted, Meta, profiles::Standing},
    serve::proto::trilobite::{Profile, ProfileState},
};

/// The message.
pub(super) fn profile(standing: Standing) -> Profile {
    let (meta, running) = match standing {
        Standing::Running(meta) => (meta, true),
        Standing::Over(meta) => (meta, false),
    };
    let state = match (running, meta.folded_bytes, meta.problem.is_empty()) {
        (true, ..) => ProfileState::Running,
        // An idle pod makes an empty profile, which is a result.
        (false, 0, false) => ProfileState::Failed,
        (false, ..) => ProfileState::Done,
    };
    let Meta { name, node, frequency_hz, started, ended, counts, pods, problem, folded_bytes, svg_bytes } = meta;
    let Counted { samples, truncated, unmapped, lost, others, undecided, worker_deaths, files_dropped } = counts;
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
    // A part of the second has the sign of the whole before 1970, where no profile was made.
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_made_nothing_and_says_why_has_failed() {
        let meta = Meta { problem: "the worker died".into(), ..Meta::default() };
        assert_eq!(profile(Standing::Over(meta.clone())).state(), ProfileState::Failed);
        assert_eq!(profile(Standing::Running(meta.clone())).state(), ProfileState::Running);
        assert_eq!(profile(Standing::Over(Meta { folded_bytes: 9, ..meta })).state(), ProfileState::Done);
    }

    #[test]
    fn a_profile_of_an_idle_pod_is_done_and_empty() {
        assert_eq!(profile(Standing::Over(Meta::default())).state(), ProfileState::Done);
    }
}
