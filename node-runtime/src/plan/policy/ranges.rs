//! Sets of whole numbers as ranges, both ends included.

/// Ranges in order that neither overlap nor touch.
pub(super) fn union(ranges: impl IntoIterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut sorted: Vec<(i64, i64)> = ranges.into_iter().filter(|(from, to)| from <= to).collect();
    sorted.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::with_capacity(sorted.len());
    for (from, to) in sorted {
        match joined.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// What is in both; each in order.
pub(super) fn intersection(one: &[(i64, i64)], other: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let (mut left, mut right) = (0, 0);
    let mut both = Vec::new();
    while let (Some(&(from, to)), Some(&(other_from, other_to))) = (one.get(left), other.get(right)) {
        let (begin, end) = (from.max(other_from), to.min(other_to));
        if begin <= end {
            both.push((begin, end));
        }
        if to < other_to {
            left += 1;
        } else {
            right += 1;
        }
    }
    both
}

/// All other numbers; `ranges` in order, as `union` returns them.
pub(super) fn complement(ranges: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut rest = Vec::with_capacity(ranges.len() + 1);
    let mut next = Some(i64::MIN);
    for (from, to) in ranges {
        if let Some(begin) = next.filter(|begin| begin < from) {
            rest.push((begin, from - 1));
        }
        next = to.checked_add(1);
    }
    rest.extend(next.map(|begin| (begin, i64::MAX)));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(union([(5, 7), (1, 2), (3, 4), (9, 8)]), [(1, 7)]);
        assert_eq!(union([(i64::MIN, i64::MAX), (0, 0)]), [(i64::MIN, i64::MAX)]);
    }

    #[test]
    fn complement_reaches_both_ends() {
        assert_eq!(complement(&[]), [(i64::MIN, i64::MAX)]);
        assert_eq!(complement(&[(i64::MIN, i64::MAX)]), []);
        assert_eq!(complement(&[(0, 0), (5, i64::MAX)]), [(i64::MIN, -1), (1, 4)]);
    }

    #[test]
    fn intersection_of_several_ranges_is_in_order() {
        assert_eq!(intersection(&[(0, 5), (10, 20)], &[(3, 12), (20, 30)]), [(3, 5), (10, 12), (20, 20)]);
    }
}
