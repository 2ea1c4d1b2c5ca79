//! Functions of numbers, times and truth values, which operators stand for too.

use trilobite_schema::SemanticType::{self, Bytes, DurationNs, Percent, ThroughputBytesPerNs, ThroughputPerNs};

use super::function::{B, F, Function, I, Overload, S, SemanticRule, T, U, overloads, scalar};

const AMOUNTS: &[SemanticType] = &[Bytes, ThroughputPerNs, ThroughputBytesPerNs, DurationNs];
const AMOUNTS_AND_PERCENT: &[SemanticType] = &[Bytes, ThroughputPerNs, ThroughputBytesPerNs, DurationNs, Percent];

const OF_NUMBERS: &[Overload] = overloads![(I, I) -> F, (F, F) -> F, (F, I) -> F, (I, F) -> F];
const OF_A_NUMBER: &[Overload] = overloads![(F) -> F, (I) -> F];
const EQUALITY: &[Overload] = overloads![
    (I, I) -> B, (S, S) -> B, (B, B) -> B, (F, F) -> B, (T, T) -> B, (U, U) -> B, (T, I) -> B, (I, T) -> B, (F, I) -> B, (I, F) -> B,
];
const ORDER: &[Overload] =
    overloads![(I, I) -> B, (T, T) -> B, (F, F) -> B, (S, S) -> B, (F, I) -> B, (I, F) -> B, (T, I) -> B, (I, T) -> B];
const LOGIC: &[Overload] = overloads![(B, B) -> B, (I, I) -> B];

pub(super) static FUNCTIONS: &[Function] = &[
    scalar(
        "add",
        overloads![(I, I) -> I, (F, F) -> F, (S, S) -> S, (F, I) -> F, (I, F) -> F, (T, I) -> T, (I, T) -> T],
    )
    .means(SemanticRule::SameOf(AMOUNTS)),
    scalar(
        "subtract",
        overloads![(I, I) -> I, (F, F) -> F, (F, I) -> F, (I, F) -> F, (T, T) -> I, (T, I) -> T, (I, T) -> T],
    )
    .means(SemanticRule::SameOf(AMOUNTS)),
    scalar("multiply", overloads![(I, I) -> I, (F, F) -> F, (F, I) -> F, (I, F) -> F]),
    scalar("divide", OF_NUMBERS).means(SemanticRule::Rate),
    scalar("modulo", overloads![(I, I) -> I, (T, I) -> I, (T, T) -> I, (I, T) -> I]),
    scalar("negate", overloads![(I) -> I, (F) -> F]),
    scalar("invert", overloads![(I) -> I]),
    scalar("abs", overloads![(F) -> F, (I) -> I]).means(SemanticRule::SameOf(AMOUNTS_AND_PERCENT)),
    scalar("bin", overloads![(I, I) -> I, (T, T) -> T, (I, T) -> I, (T, I) -> T, (F, I) -> I]),
    scalar("ceil", overloads![(F) -> I]),
    scalar("floor", overloads![(F) -> I]),
    scalar("round", overloads![(F, I) -> S]),
    scalar("exp", OF_A_NUMBER),
    scalar("ln", OF_A_NUMBER),
    scalar("log", OF_NUMBERS),
    scalar("log10", OF_A_NUMBER),
    scalar("log2", OF_A_NUMBER),
    scalar("pow", OF_NUMBERS),
    scalar("sqrt", OF_A_NUMBER),
    scalar("time_to_int64", overloads![(T) -> I]),
    scalar("int64_to_time", overloads![(I) -> T]),
    scalar("equal", EQUALITY),
    scalar("notEqual", EQUALITY),
    scalar("approxEqual", overloads![(F, F) -> B]),
    scalar("lessThan", ORDER),
    scalar("lessThanEqual", ORDER),
    scalar("greaterThan", ORDER),
    scalar("greaterThanEqual", ORDER),
    scalar("logicalAnd", LOGIC),
    scalar("logicalOr", LOGIC),
    scalar("logicalNot", overloads![(B) -> B, (I) -> B]),
    scalar("select", overloads![(B, B, B) -> B, (B, I, I) -> I, (B, F, F) -> F, (B, S, S) -> S, (B, T, T) -> T])
        .means(SemanticRule::SameFrom(1)),
];
