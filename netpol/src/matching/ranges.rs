//! A set of numbers as sorted ranges: a look-up is a binary search, however many ranges were put in.

/// Inclusive ranges, sorted and without overlaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Ranges<T> {
    pub(crate) fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1 => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, number: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= self.0[after - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_and_reversed_ranges_are_one_set() {
        let ranges = Ranges::new(vec![(30u16, 40), (1, 5), (4, 9), (2, 3), (20, 10)]);
        let contained: Vec<u16> = (0..50).filter(|number| ranges.contains(*number)).collect();
        assert_eq!(contained, (1..=9).chain(30..=40).collect::<Vec<u16>>());
        assert!(!Ranges::new(Vec::<(u16, u16)>::new()).contains(0));
    }
}
