//! The series of a metric, a bounded number: the busiest label sets have one each, the rest is counted in `other`.

use std::collections::HashMap;

use super::label_values::{LabelValues, values};

/// The value of a label in the series that counts the rest.
const OTHER: &str = "other";
/// A label set replaces a series only if it is busier by more than this.
const MARGIN: u64 = 10;

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) name: &'static str,
    /// It has few values: the series that count the rest keep them apart.
    pub(super) is_bounded: bool,
}

/// Counts by label set; each series has `N` counts, of which the first says how busy it is.
#[derive(Debug)]
pub(super) struct SeriesTable<const N: usize = 1> {
    labels: Vec<Label>,
    limit: usize,
    series: HashMap<Box<[u8]>, Series<N>>,
    /// The rest, by the values of bounded labels.
    other: HashMap<Box<[u8]>, [u64; N]>,
    candidates: Candidates,
    /// Written by the caller before `add`.
    pub(super) values: LabelValues,
    other_values: LabelValues,
    in_other: u64,
}

#[derive(Debug)]
struct Series<const N: usize> {
    counts: [u64; N],
    /// Counted since the last `rebalance`.
    recent: u64,
}

impl Label {
    pub(super) fn bounded(name: &'static str) -> Self {
        Self { name, is_bounded: true }
    }

    pub(super) fn unbounded(name: &'static str) -> Self {
        Self { name, is_bounded: false }
    }
}

impl<const N: usize> SeriesTable<N> {
    pub(super) fn new(labels: Vec<Label>, limit: usize) -> Self {
        Self {
            labels,
            limit,
            series: HashMap::new(),
            other: HashMap::new(),
            candidates: Candidates::default(),
            values: LabelValues::default(),
            other_values: LabelValues::default(),
            in_other: 0,
        }
    }

    pub(super) fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Adds to the series of `values`, which has a value for each label.
    pub(super) fn add(&mut self, amounts: [u64; N]) {
        let key = self.values.as_bytes();
        if let Some(series) = self.series.get_mut(key) {
            series.recent += amounts[0];
            add_all(&mut series.counts, &amounts);
        } else if self.series.len() < self.limit {
            self.series.insert(key.into(), Series { counts: amounts, recent: amounts[0] });
        } else {
            self.add_to_other(amounts);
        }
    }

    fn add_to_other(&mut self, amounts: [u64; N]) {
        let key = self.values.as_bytes();
        self.in_other += amounts[0];
        self.candidates.add(key, amounts[0]);
        self.other_values.clear();
        for (label, value) in self.labels.iter().zip(values(key)) {
            self.other_values.push(if label.is_bounded { value } else { OTHER });
        }
        match self.other.get_mut(self.other_values.as_bytes()) {
            Some(counts) => add_all(counts, &amounts),
            None => drop(self.other.insert(self.other_values.as_bytes().into(), amounts)),
        }
    }

    /// Gives the series of label sets that have become quiet to busier ones, which begin at zero. To be called once in a while.
    pub(super) fn rebalance(&mut self) {
        let candidates = self.candidates.drain();
        if !candidates.is_empty() {
            let mut quiet: Vec<(u64, Box<[u8]>)> =
                self.series.iter().map(|(key, series)| (series.recent, key.clone())).collect();
            quiet.sort_unstable();
            for ((busy, key), (recent, old)) in candidates.into_iter().zip(quiet) {
                if busy <= recent * 2 + MARGIN {
                    break;
                }
                self.series.remove(&old);
                self.series.insert(key, Series { counts: [0; N], recent: 0 });
            }
        }
        for series in self.series.values_mut() {
            series.recent = 0;
        }
    }

    /// Removes the series whose values in the order of the labels are refused by `keep`.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&[&str]) -> bool) {
        self.series.retain(|key, _| keep(&values(key).collect::<Vec<_>>()));
    }

    /// Every series, with the values of its labels, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Vec<&str>, [u64; N])> {
        let series = self.series.iter().map(|(key, series)| (key, series.counts));
        let other = self.other.iter().map(|(key, counts)| (key, *counts));
        series.chain(other).map(|(key, counts)| (values(key).collect(), counts))
    }

    /// What was counted in `other`.
    pub(super) fn in_other(&self) -> u64 {
        self.in_other
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.series.len() + self.other.len()
    }
}

fn add_all<const N: usize>(counts: &mut [u64; N], amounts: &[u64; N]) {
    for (count, amount) in counts.iter_mut().zip(amounts) {
        *count += amount;
    }
}

/// The busiest label sets without a series, by the algorithm of Misra and Gries: a label set that has more than its share of the
/// counts is among them, and no count is too high.
#[derive(Debug, Default)]
struct Candidates(HashMap<Box<[u8]>, u64>);

impl Candidates {
    const MOST: usize = 256;

    fn add(&mut self, key: &[u8], amount: u64) {
        if let Some(count) = self.0.get_mut(key) {
            *count += amount;
        } else if self.0.len() < Self::MOST {
            self.0.insert(key.into(), amount);
        } else {
            let paid = self.0.values().copied().min().unwrap_or_default().min(amount);
            self.0.retain(|_, count| {
                *count -= paid;
                *count > 0
            });
            if amount > paid {
                self.0.insert(key.into(), amount - paid);
            }
        }
    }

    /// The busiest first.
    fn drain(&mut self) -> Vec<(u64, Box<[u8]>)> {
        let mut all: Vec<_> = self.0.drain().map(|(key, count)| (count, key)).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(limit: usize) -> SeriesTable {
        SeriesTable::new(vec![Label::bounded("verdict"), Label::unbounded("source")], limit)
    }

    fn add(table: &mut SeriesTable, verdict: &str, source: &str, amount: u64) {
        table.values.clear();
        table.values.push(verdict);
        table.values.push(source);
        table.add([amount]);
    }

    fn shown(table: &SeriesTable) -> Vec<String> {
        let mut lines: Vec<_> = table.iter().map(|(values, [count])| format!("{} {count}", values.join(" "))).collect();
        lines.sort();
        lines
    }

    #[test]
    fn label_sets_beyond_the_limit_are_counted_together() {
        let mut table = table(2);
        for (verdict, source) in [("F", "a"), ("F", "b"), ("F", "c"), ("D", "d"), ("F", "e"), ("F", "a")] {
            add(&mut table, verdict, source, 1);
        }
        assert_eq!(shown(&table), ["D other 1", "F a 2", "F b 1", "F other 2"]);
        assert_eq!(table.in_other(), 3);
    }

    #[test]
    fn label_sets_stay_within_the_limit_and_no_count_is_lost() {
        let mut table = table(1000);
        let mut rebalanced = 0;
        for number in 0..100_000u32 {
            add(&mut table, if number % 3 == 0 { "D" } else { "F" }, &number.to_string(), 1);
            assert!(table.series.len() <= 1000 && table.other.len() <= 2);
            assert!(table.candidates.0.len() <= Candidates::MOST);
            if number % 10_000 == 0 {
                table.rebalance();
                rebalanced += 1;
            }
        }
        assert_eq!(rebalanced, 10);
        assert_eq!(table.in_other(), 99_000);
        let other: u64 = table.iter().filter(|(values, _)| values[1] == "other").map(|(_, [count])| count).sum();
        assert_eq!(other, 99_000);
        assert_eq!(table.len(), 1002);
    }

    #[test]
    fn busy_label_set_gets_the_series_of_a_quiet_one() {
        let mut table = table(2);
        for source in ["quiet", "busy"] {
            add(&mut table, "F", source, 100);
        }
        table.rebalance();
        add(&mut table, "F", "busy", 100);
        add(&mut table, "F", "new", 50);
        add(&mut table, "F", "rare", 1);
        table.rebalance();
        assert_eq!(shown(&table), ["F busy 200", "F new 0", "F other 51"]);
        assert_eq!(table.in_other(), 51);
        add(&mut table, "F", "new", 3);
        assert!(shown(&table).contains(&"F new 3".to_owned()));
    }

    #[test]
    fn heavy_hitter_is_found_among_many() {
        let mut candidates = Candidates::default();
        for number in 0..100_000u32 {
            candidates.add(number.to_string().as_bytes(), 1 + u64::from(number % 3));
            if number % 50 == 0 {
                candidates.add(b"heavy", 2);
            }
        }
        let (count, key) = &candidates.drain()[0];
        assert_eq!(&**key, b"heavy");
        assert!((1000..=4000).contains(count), "{count}");
    }

    #[test]
    fn retain_reads_the_values_in_order() {
        let mut table = table(9);
        for source in ["a", "b"] {
            add(&mut table, "F", source, 1);
        }
        table.retain(|values| values != ["F", "a"]);
        assert_eq!(shown(&table), ["F b 1"]);
    }
}
