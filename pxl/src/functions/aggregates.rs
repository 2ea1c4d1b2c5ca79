//! Functions of groups of rows.

use trilobite_schema::SemanticType::{self, Bytes, DurationNs, Percent, ThroughputBytesPerNs, ThroughputPerNs};

use super::function::{B, F, Function, I, Overload, S, SemanticRule, T, U, aggregate, overloads};

const KEPT: &[SemanticType] = &[Bytes, ThroughputPerNs, ThroughputBytesPerNs, DurationNs, Percent];
const SUMMED: &[SemanticType] = &[Bytes, ThroughputPerNs, ThroughputBytesPerNs, Percent];
const OF_NUMBERS: &[Overload] = overloads![(F) -> F, (I) -> F];

pub(super) static FUNCTIONS: &[Function] = &[
    aggregate("any", overloads![(B) -> B, (I) -> I, (F) -> F, (S) -> S, (T) -> T, (U) -> U])
        .means(SemanticRule::SameFrom(0)),
    aggregate("count", overloads![(F) -> I, (I) -> I, (T) -> I, (B) -> I, (S) -> I, (U) -> I]),
    aggregate("sum", overloads![(F) -> F, (I) -> I, (B) -> I]).means(SemanticRule::SameOf(SUMMED)),
    aggregate("mean", overloads![(F) -> F, (I) -> F, (B) -> F]).means(SemanticRule::SameOf(KEPT)),
    aggregate("min", overloads![(F) -> F, (I) -> I, (T) -> T]).means(SemanticRule::SameOf(KEPT)),
    aggregate("max", overloads![(F) -> F, (I) -> I, (T) -> T]).means(SemanticRule::SameOf(KEPT)),
    aggregate("quantiles", overloads![(I) -> S, (F) -> S]).means(SemanticRule::Quantiles),
    aggregate("_build_request_path_clusters", overloads![(S) -> S]),
    aggregate("p50", OF_NUMBERS).means(SemanticRule::SameOf(KEPT)).extension(),
    aggregate("p90", OF_NUMBERS).means(SemanticRule::SameOf(KEPT)).extension(),
    aggregate("p95", OF_NUMBERS).means(SemanticRule::SameOf(KEPT)).extension(),
    aggregate("p99", OF_NUMBERS).means(SemanticRule::SameOf(KEPT)).extension(),
];
