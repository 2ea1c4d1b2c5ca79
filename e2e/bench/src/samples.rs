//! Several runs of one thing, and what is said of them.

use anyhow::Result;

/// Numbers of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds the number of one run.
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many runs there were.
    pub(crate) fn runs(&self) -> usize {
        self.0.len()
    }

    /// The middle one; of an even count the mean of the two in the middle. Zero without runs.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => 0.0,
            count if count % 2 == 1 => sorted[count / 2],
            count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
        }
    }

    /// `lowest..highest` with so many decimals.
    pub(crate) fn spread(&self, decimals: usize) -> String {
        let sorted = self.sorted();
        match (sorted.first(), sorted.last()) {
            (Some(low), Some(high)) => format!("{low:.decimals$}..{high:.decimals$}"),
            _ => "-".to_owned(),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// One thing without and with the agent, in turns, so that what else goes on in the machine meets both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    /// Without the agent.
    pub without: Samples,
    ratios: Samples,
}

impl Pairs {
    /// Adds one turn of each.
    pub(crate) fn add(&mut self, without: f64, with: f64) {
        self.without.add(without);
        self.ratios.add(with / without);
    }

    /// Of each pair, with over without.
    pub(crate) fn ratios(&self) -> &Samples {
        &self.ratios
    }
}

/// One turn: what `without` and `with` give. Whoever comes first finds the machine otherwise than whoever comes second, so that
/// they change places from turn to turn.
pub(crate) fn turn<T>(
    number: u32,
    without: impl FnOnce() -> Result<T>,
    with: impl FnOnce() -> Result<T>,
) -> Result<(T, T)> {
    if number.is_multiple_of(2) {
        let first = without()?;
        return Ok((first, with()?));
    }
    let first = with()?;
    Ok((without()?, first))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn each_comes_first_in_every_other_turn_and_keeps_its_place_in_the_pair() {
        let order = RefCell::new(String::new());
        let say = |what: char| {
            order.borrow_mut().push(what);
            Ok(what)
        };
        for number in 0..4 {
            assert_eq!(turn(number, || say('-'), || say('+')).unwrap(), ('-', '+'));
        }
        assert_eq!(order.into_inner(), "-++--++-");
    }

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        values.iter().for_each(|value| samples.add(*value));
        samples
    }

    #[test]
    fn one_slow_run_does_not_move_the_median() {
        assert_eq!(samples(&[1.0, 90.0, 2.0]).median(), 2.0);
        assert_eq!(samples(&[4.0, 1.0, 2.0, 90.0]).median(), 3.0);
        assert_eq!(samples(&[1.0, 90.0, 2.0]).spread(1), "1.0..90.0");
    }

    #[test]
    fn a_machine_that_slows_down_in_the_middle_does_not_move_the_ratio() {
        let mut pairs = Pairs::default();
        pairs.add(1.0, 1.1);
        pairs.add(3.0, 3.3);
        pairs.add(3.0, 3.3);
        assert!((pairs.ratios().median() - 1.1).abs() < 1e-9);
    }
}
