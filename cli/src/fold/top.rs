//! The functions with the most samples, as a table.

use std::collections::{BTreeMap, BTreeSet};

use trilobite_flame_graph::frame_text::{self, Origin};
use trilobite_folded_stacks::Folded;
use trilobite_untrusted_text::is_unprintable;

/// Samples of one function.
#[derive(Clone, Copy, Default)]
struct Samples {
    /// It was the innermost.
    own: u64,
    /// It was anywhere in the stack.
    total: u64,
}

/// A line for each of the first functions, by the samples in which they ran themselves.
pub(crate) fn top_functions(folded: &Folded, count: usize) -> String {
    let mut by_frame: BTreeMap<&str, Samples> = BTreeMap::new();
    let mut all = 0u64;
    for (stack, samples) in folded.stacks() {
        all = all.saturating_add(samples);
        let Some(innermost) = stack.code.last().copied() else { continue };
        let own = &mut by_frame.entry(innermost).or_default().own;
        *own = own.saturating_add(samples);
        // A function that calls itself is in its stack once.
        for frame in stack.code.iter().copied().collect::<BTreeSet<&str>>() {
            let total = &mut by_frame.entry(frame).or_default().total;
            *total = total.saturating_add(samples);
        }
    }
    let mut ranked: Vec<(&str, Samples)> = by_frame.into_iter().collect();
    // Stable: equals stay in the order of their names.
    ranked.sort_by_key(|(_, samples)| std::cmp::Reverse((samples.own, samples.total)));
    let share = |part: u64| if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 };
    let mut text = format!("{:>8} {:>6} {:>8} {:>6}  FUNCTION\n", "SELF", "%", "TOTAL", "%");
    for (frame, Samples { own, total }) in ranked.into_iter().take(count) {
        let (own_share, total_share) = (share(own), share(total));
        text += &format!("{own:>8} {own_share:>6.1} {total:>8} {total_share:>6.1}  {}\n", printed(frame));
    }
    text
}

/// The function, and where its code comes from unless it is the program's own.
fn printed(text: &str) -> String {
    let (origin, function) = frame_text::parse(text);
    let printed = match origin {
        Origin::Kernel => format!("{function} (kernel)"),
        Origin::Jit if function.starts_with('[') => function.to_owned(),
        Origin::Jit => format!("{function} (compiled at run time)"),
        Origin::Library(file) if !function.starts_with('[') => format!("{function} ({file})"),
        Origin::Library(_) | Origin::Program | Origin::Missing => function.to_owned(),
    };
    printed.chars().map(|letter| if is_unprintable(letter) { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: &str = "\
cart-7/app;app;app;main;dig;dig 60
cart-7/app;app;app;main;libc.so.6`memcpy 30
cart-7/app;app;io;main;libc.so.6`read;vfs_read_[k] 10
";

    #[test]
    fn functions_are_ranked_by_their_own_samples() {
        let mut folded = Folded::default();
        folded.add(STACKS).unwrap();
        let expected = "    SELF      %    TOTAL      %  FUNCTION\n      60   60.0       60   60.0  dig\n      30   30.0       30   30.0  memcpy (libc.so.6)\n      10   10.0       10   10.0  vfs_read (kernel)\n       0    0.0      100  100.0  main\n";
        assert_eq!(top_functions(&folded, 4), expected);
        assert_eq!(top_functions(&folded, 1).lines().count(), 2);
    }

    #[test]
    fn name_cannot_write_to_the_terminal() {
        let mut folded = Folded::default();
        folded.add("p/c;a;a;main;\u{1b}[2Jdig 1\n").unwrap();
        assert!(top_functions(&folded, 1).ends_with("?[2Jdig\n"));
    }
}
