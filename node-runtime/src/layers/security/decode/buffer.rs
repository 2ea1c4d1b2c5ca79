//! Reads types and arrays of them at offsets that a record names, within the record's bounds.

use zerocopy::FromBytes;

/// None where the bytes end before.
pub(super) fn at<T: FromBytes>(bytes: &[u8], offset: usize) -> Option<T> {
    T::read_from_prefix(bytes.get(offset..)?).ok().map(|(value, _)| value)
}

/// As many of `count` as the bytes hold.
pub(super) fn array<T: FromBytes>(bytes: &[u8], offset: u32, count: usize) -> Vec<T> {
    let mut rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let mut values = Vec::new();
    while values.len() < count
        && let Ok((value, after)) = T::read_from_prefix(rest)
    {
        values.push(value);
        rest = after;
    }
    values
}
