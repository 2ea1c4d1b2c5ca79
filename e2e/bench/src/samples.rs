//! Numbers of several runs, and of pairs without and with the agent: their median, and how much of it is noise.

use anyhow::Result;

/// Fewer pairs decide nothing.
pub(crate) const FEWEST_PAIRS: usize = 9;

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
        self.quantile(0.5)
    }

    /// The highest one. Zero without runs.
    pub(crate) fn highest(&self) -> f64 {
        self.quantile(1.0)
    }

    /// `lowest..highest` with so many decimals.
    pub(crate) fn spread(&self, decimals: usize) -> String {
        let sorted = self.sorted();
        match (sorted.first(), sorted.last()) {
            (Some(low), Some(high)) => format!("{low:.decimals$}..{high:.decimals$}"),
            _ => "-".to_owned(),
        }
    }

    /// Half the width of the middle 80 % of the numbers: one outlier among nine does not move it much.
    pub(crate) fn half_width(&self) -> f64 {
        (self.quantile(0.9) - self.quantile(0.1)) / 2.0
    }

    /// Interpolated between the two nearest numbers. Zero without runs.
    fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
        let at = share * last as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// One cost without and with the agent, in turns, so that other work of the machine meets both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    /// Without the agent.
    pub without: Samples,
    ratios: Samples,
}

/// What a ratio says about its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    NotMet,
    /// The goal is nearer to 1 than the noise, or there are too few pairs.
    NotDecided,
    /// Less cost with the agent than without, by more than the noise: the benchmark measures something else.
    Impossible,
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

    /// Of each turn and the one after it, without over without: a ratio that is 1 but for the noise.
    pub(crate) fn control(&self) -> Samples {
        Samples(self.without.0.windows(2).map(|two| two[1] / two[0]).collect())
    }

    /// How far a ratio may be from the truth by chance.
    pub(crate) fn noise(&self) -> f64 {
        self.control().half_width()
    }

    /// What the median says; without a goal only whether it is possible.
    pub(crate) fn judge(&self, goal: Option<f64>) -> Option<Verdict> {
        let (ratio, noise) = (self.ratios.median(), self.noise());
        if self.ratios.runs() < FEWEST_PAIRS {
            return goal.map(|_| Verdict::NotDecided);
        }
        if ratio < 1.0 - noise {
            return Some(Verdict::Impossible);
        }
        goal.map(|goal| match () {
            () if goal - 1.0 <= noise => Verdict::NotDecided,
            () if ratio <= goal => Verdict::Met,
            () => Verdict::NotMet,
        })
    }
}

/// The measurements of one turn, `without` and `with` the agent. The second of the two finds another machine than the first, so
/// that they change places from turn to turn.
pub(crate) fn paired<T>(
    turn: usize,
    without: impl FnOnce() -> Result<T>,
    with: impl FnOnce() -> Result<T>,
) -> Result<(T, T)> {
    if turn.is_multiple_of(2) {
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
    fn each_comes_first_in_every_other_turn_and_keeps_its_place() {
        let order = RefCell::new(String::new());
        let say = |what: char| {
            order.borrow_mut().push(what);
            Ok(what)
        };
        for turn in 0..4 {
            assert_eq!(paired(turn, || say('-'), || say('+')).unwrap(), ('-', '+'));
        }
        assert_eq!(order.into_inner(), "-++--++-");
    }

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        values.iter().for_each(|value| samples.add(*value));
        samples
    }

    /// Nine pairs: what is measured without the agent differs by `noise` from turn to turn, and with it is `ratio` times that.
    fn pairs(ratio: f64, noise: f64) -> Pairs {
        let mut pairs = Pairs::default();
        for turn in 0..FEWEST_PAIRS {
            let without = if turn % 2 == 0 { 100.0 } else { 100.0 * (1.0 + noise) };
            pairs.add(without, without * ratio);
        }
        pairs
    }

    #[test]
    fn one_slow_run_does_not_move_the_median() {
        assert_eq!(samples(&[1.0, 90.0, 2.0]).median(), 2.0);
        assert_eq!(samples(&[4.0, 1.0, 2.0, 90.0]).median(), 3.0);
        assert_eq!(samples(&[1.0, 90.0, 2.0]).spread(1), "1.0..90.0");
    }

    #[test]
    fn machine_that_slows_down_in_the_middle_does_not_move_the_ratio() {
        let mut pairs = Pairs::default();
        pairs.add(1.0, 1.1);
        pairs.add(3.0, 3.3);
        pairs.add(3.0, 3.3);
        assert!((pairs.ratios().median() - 1.1).abs() < 1e-9);
    }

    #[test]
    fn quiet_machine_decides_whether_a_goal_is_met() {
        assert_eq!(pairs(1.05, 0.01).judge(Some(1.1)), Some(Verdict::Met));
        assert_eq!(pairs(1.15, 0.01).judge(Some(1.1)), Some(Verdict::NotMet));
        assert_eq!(pairs(1.15, 0.01).judge(None), None);
    }

    #[test]
    fn goal_within_the_noise_is_not_decided() {
        assert_eq!(pairs(1.0, 0.02).judge(Some(1.01)), Some(Verdict::NotDecided));
        assert_eq!(pairs(2.0, 0.02).judge(Some(1.01)), Some(Verdict::NotDecided));
    }

    #[test]
    fn ratio_below_one_by_more_than_the_noise_is_impossible() {
        // 0.567 was once called "met" here.
        assert_eq!(pairs(0.567, 0.1).judge(Some(1.1)), Some(Verdict::Impossible));
        assert_eq!(pairs(0.567, 0.1).judge(None), Some(Verdict::Impossible));
        assert_eq!(pairs(0.98, 0.05).judge(Some(1.1)), Some(Verdict::Met));
    }

    #[test]
    fn too_few_pairs_decide_nothing() {
        let mut few = Pairs::default();
        for _ in 1..FEWEST_PAIRS {
            few.add(1.0, 0.5);
        }
        assert_eq!((few.judge(Some(1.1)), few.judge(None)), (Some(Verdict::NotDecided), None));
    }

    #[test]
    fn one_outlier_among_nine_does_not_make_the_noise() {
        let mut pairs = pairs(1.0, 0.0);
        pairs.add(300.0, 300.0);
        assert!(pairs.noise() < 0.25, "{}", pairs.noise());
    }
}
