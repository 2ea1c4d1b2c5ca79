//! The two lines above a flame graph: what was sampled where and for how long, and how far the picture can be trusted.

use std::fmt;

/// Nodes that are named; of more only their number is.
const NAMED_NODES: usize = 3;

/// Title of a profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileTitle {
    /// `namespace/pod`, or what else was profiled.
    pub target: String,
    /// Nodes that sampled.
    pub nodes: Vec<String>,
    /// CPU limit of the pod in thousandths of a processor; none without a limit.
    pub cpu_limit_millis: Option<u64>,
    /// Samples in the picture, and lost ones.
    pub samples: u64,
    /// Samples that were taken and are not in the picture.
    pub lost: u64,
    /// Samples a second on each processor.
    pub frequency_hz: u32,
    /// How long samples were taken, on the node that did so for the longest.
    pub sampled_ms: u64,
}

impl ProfileTitle {
    /// Processors that were used on average.
    pub fn cpus(&self) -> f64 {
        let ticks = f64::from(self.frequency_hz) * self.sampled_ms as f64 / 1000.0;
        if ticks > 0.0 { self.samples.saturating_add(self.lost) as f64 / ticks } else { 0.0 }
    }
}

impl fmt::Display for ProfileTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, nodes, cpu_limit_millis, samples, frequency_hz, sampled_ms, .. } = self;
        write!(f, "CPU of {target}")?;
        match nodes.len() {
            0 => {}
            1..=NAMED_NODES => write!(f, " on {}", nodes.join(", "))?,
            count => write!(f, " on {count} nodes")?,
        }
        write!(f, ": {:.2} CPUs", self.cpus())?;
        if let Some(limit) = cpu_limit_millis {
            write!(f, " of a limit of {}", *limit as f64 / 1000.0)?;
        }
        write!(f, ", {samples} samples at {frequency_hz} Hz in {:.1} s", *sampled_ms as f64 / 1000.0)
    }
}

/// Subtitle of a profile: what is missing or wrong in the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileSummary {
    /// Samples in the picture.
    pub samples: u64,
    /// Of them with an incomplete stack.
    pub truncated: u64,
    /// Of them without the caller of their innermost function.
    pub caller_missing: u64,
    /// Samples that were taken and are not in the picture.
    pub lost: u64,
    /// Samples of a cgroup whose pod did not become known.
    pub undecided: u64,
    /// Samples without names, because their process could not be inspected.
    pub unmapped: u64,
    /// Samples whose code was mapped anew while they were taken.
    pub remapped: u64,
    /// Files with samples, but without names of functions.
    pub files_dropped: u64,
    /// Executable mappings that were not read.
    pub mappings_dropped: u64,
}

impl fmt::Display for ProfileSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u64| if self.samples == 0 { 0.0 } else { part as f64 * 100.0 / self.samples as f64 };
        write!(f, "{:.1} % of the stacks truncated (no frame pointers, or too deep)", share(self.truncated))?;
        if self.caller_missing > 0 {
            write!(f, ", {:.1} % without the caller of their innermost function", share(self.caller_missing))?;
        }
        write!(f, ", {} lost", self.lost)?;
        for (count, what) in [
            (self.undecided, "of an unknown pod"),
            (self.unmapped, "of processes whose code could not be looked up"),
            (self.remapped, "of code that was mapped anew meanwhile"),
            (self.files_dropped, "files without symbols"),
            (self.mappings_dropped, "mappings not read"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title() -> ProfileTitle {
        ProfileTitle {
            target: "shop/cart-7".into(),
            nodes: vec!["birch".into()],
            cpu_limit_millis: Some(300),
            samples: 175,
            lost: 0,
            frequency_hz: 49,
            sampled_ms: 10_800,
        }
    }

    #[test]
    fn title_says_what_was_used_of_which_limit() {
        let expected = "CPU of shop/cart-7 on birch: 0.33 CPUs of a limit of 0.3, 175 samples at 49 Hz in 10.8 s";
        assert_eq!(title().to_string(), expected);
    }

    #[test]
    fn lost_samples_are_used_time_too() {
        assert_eq!(format!("{:.2}", ProfileTitle { lost: 175, ..title() }.cpus()), "0.66");
    }

    #[test]
    fn many_nodes_are_counted_and_a_missing_limit_is_not_said() {
        let nodes: Vec<String> = (0..4).map(|n| format!("birch{n}")).collect();
        let text = ProfileTitle { nodes, cpu_limit_millis: None, sampled_ms: 0, ..title() }.to_string();
        assert_eq!(text, "CPU of shop/cart-7 on 4 nodes: 0.00 CPUs, 175 samples at 49 Hz in 0.0 s");
    }

    #[test]
    fn summary_names_only_what_is_missing() {
        let summary = ProfileSummary { samples: 4, truncated: 1, ..ProfileSummary::default() };
        let expected = "25.0 % of the stacks truncated (no frame pointers, or too deep), 0 lost";
        assert_eq!(summary.to_string(), expected);
        let summary = ProfileSummary { caller_missing: 2, remapped: 3, mappings_dropped: 9, ..summary };
        let expected = "25.0 % of the stacks truncated (no frame pointers, or too deep), 50.0 % without the caller of \
                        their innermost function, 0 lost, 3 of code that was mapped anew meanwhile, 9 mappings not read";
        assert_eq!(summary.to_string(), expected);
    }
}
