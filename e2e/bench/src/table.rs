//! The lines of the result: each with its number, its goal, and the command that made it.

use crate::{
    machine::Machine,
    samples::{Pairs, Samples, Verdict},
};

/// The highest that a number should be. A goal that is not met fails nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal(pub f64);

/// One number.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    what: String,
    number: String,
    goal: String,
    spread: String,
    command: String,
    impossible: bool,
}

impl Line {
    /// The median of some runs.
    pub(crate) fn median(what: &str, samples: &Samples, decimals: usize, unit: &str, command: &str) -> Self {
        let number = format!("{:.decimals$} {unit}", samples.median());
        let spread = format!("{} x {}", samples.runs(), samples.spread(decimals));
        Self {
            what: what.to_owned(),
            number: number.trim_end().to_owned(),
            goal: String::new(),
            spread,
            command: command.to_owned(),
            impossible: false,
        }
    }

    /// The median of ratios, beside the spread of the same without the agent in both places.
    pub(crate) fn ratio(what: &str, pairs: &Pairs, decimals: usize, goal: Option<Goal>, command: &str) -> Self {
        let mut line = Self::median(what, pairs.ratios(), decimals, "", command);
        line.spread += &format!("; without/without {}", pairs.control().spread(decimals));
        let verdict = pairs.judge(goal.map(|Goal(goal)| goal));
        let words = match verdict {
            Some(Verdict::Met) => "met".to_owned(),
            Some(Verdict::NotMet) => "not met".to_owned(),
            Some(Verdict::NotDecided) => format!("not decided, noise {:.decimals$}", pairs.noise()),
            Some(Verdict::Impossible) => format!("IMPOSSIBLE: below 1 by more than {:.decimals$}", pairs.noise()),
            None => String::new(),
        };
        line.goal = goal.map_or(words.clone(), |Goal(goal)| format!("<= {goal}: {words}"));
        line.impossible = verdict == Some(Verdict::Impossible);
        line
    }

    /// The same with the highest that it should be.
    #[must_use]
    pub(crate) fn at_most(mut self, goal: Goal, samples: &Samples) -> Self {
        let verdict = if samples.median() <= goal.0 { "met" } else { "not met" };
        self.goal = format!("<= {}: {verdict}", goal.0);
        self
    }

    /// Something that could not be measured here, and why.
    pub(crate) fn absent(what: &str, why: &str, command: &str) -> Self {
        Self {
            what: what.to_owned(),
            number: NOT_MEASURED.to_owned(),
            goal: String::new(),
            spread: why.replace('|', "/").replace('\n', " "),
            command: command.to_owned(),
            impossible: false,
        }
    }

    /// It has no number.
    pub(crate) fn is_absent(&self) -> bool {
        self.number == NOT_MEASURED
    }

    /// Its ratio cannot be true.
    pub(crate) fn is_impossible(&self) -> bool {
        self.impossible
    }

    fn cells(&self) -> [&str; 5] {
        [&self.what, &self.number, &self.goal, &self.spread, &self.command]
    }
}

const NOT_MEASURED: &str = "not measured";
const HEADS: [&str; 5] = ["what", "median", "goal", "runs x lowest..highest", "command"];

/// The page that is kept.
pub(crate) fn page(date: &str, revision: &str, machine: &Machine, command: &str, lines: &[Line]) -> String {
    let mut page = format!(
        "# What the agent costs, {date}\n\nMade by `{command}` at {revision} on {}.\nLoad averages when it began: {}. \
         A ratio is the median of pairs measured in turns, \
         in cgroups of the highest weight; without/without is the same ratio of neighbouring turns without the agent. A goal \
         within the noise of those is not decided.\n\n\
         \"With an API server\" is `trilobite-node agent` as a plain process beside a control plane, with two pods that the \
         bench made: the same binary, but neither the image nor the limits of the DaemonSet. Lines of \"the DaemonSet\" are \
         from the agents of the two-node cluster, and are here only if that cluster ran.\n\n",
        machine.line(),
        machine.load
    );
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|column| {
            let cells = lines.iter().map(|line| line.cells()[column].chars().count());
            cells.chain([HEADS[column].len()]).max().unwrap_or_default()
        })
        .collect();
    let mut row = |cells: [&str; 5]| {
        for (cell, width) in cells.iter().zip(&widths) {
            page.push_str(&format!("| {cell:width$} "));
        }
        page.push_str("|\n");
    };
    row(HEADS);
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    row([&rules[0], &rules[1], &rules[2], &rules[3], &rules[4]]);
    lines.iter().for_each(|line| row(line.cells()));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(value: f64) -> Samples {
        let mut samples = Samples::default();
        samples.add(value);
        samples
    }

    #[test]
    fn a_goal_stands_beside_the_number_and_says_whether_it_was_met() {
        for (value, verdict) in [(12.0, "<= 12: met"), (12.1, "<= 12: not met")] {
            let line = Line::median("RSS", &samples(value), 1, "MiB", "x").at_most(Goal(12.0), &samples(value));
            assert_eq!(line.goal, verdict);
        }
    }

    #[test]
    fn impossible_ratio_is_marked_and_never_met() {
        let mut pairs = Pairs::default();
        (0..9).for_each(|_| pairs.add(1.0, 0.567));
        let line = Line::ratio("connections", &pairs, 3, Some(Goal(1.1)), "x");
        assert!(line.is_impossible() && line.goal.contains("IMPOSSIBLE"), "{}", line.goal);
        assert_eq!(line.spread, "9 x 0.567..0.567; without/without 1.000..1.000");
    }

    #[test]
    fn every_row_has_its_command() {
        let machine = Machine { cpu: "c".into(), cores: 1, memory_mib: 2, kernel: "6".into(), load: "0 0 0".into() };
        let lines = [Line::median("RSS", &samples(1.0), 1, "MiB", "run me"), Line::absent("flows", "no tcx", "and me")];
        let page = page("today", "abc", &machine, "make bench", &lines);
        assert!(page.contains("| 1.0 MiB      |"), "{page}");
        assert!(page.contains("run me") && page.contains("and me") && page.contains("no tcx"));
        assert_eq!(lines.each_ref().map(Line::is_absent), [false, true]);
    }
}
