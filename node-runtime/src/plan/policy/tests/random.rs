//! How many random policies are tried.

pub(super) use crate::random::Random;

/// So many seeds; `make test-long` sets how many times more.
pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("TRILOBITE_POLICY_TIMES").ok().and_then(|times| times.parse().ok());
    0..count * times.unwrap_or(1)
}
