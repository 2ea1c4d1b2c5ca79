//! Folded stacks, `outer;inner 12` a line, of any number of nodes as one: the same stack's samples are added up.

use std::collections::BTreeMap;

/// Stacks with their samples, in the order of their text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded(BTreeMap<String, u64>);

/// A line that is no stack.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number} is not a folded stack: {line:?}")]
pub(crate) struct NotFolded {
    number: usize,
    line: String,
}

impl Folded {
    /// Adds the stacks of one node; all of them or, if a line is wrong, none.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), NotFolded> {
        let mut stacks = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let parsed = line.rsplit_once(' ').and_then(|(stack, count)| Some((stack, count.parse::<u64>().ok()?)));
            match parsed {
                Some((stack, count)) if !stack.is_empty() => stacks.push((stack, count)),
                _ => return Err(NotFolded { number: at + 1, line: line.chars().take(80).collect() }),
            }
        }
        for (stack, count) in stacks {
            let sum = self.0.entry(stack.to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
        Ok(())
    }

    /// All samples.
    pub(crate) fn samples(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// As text, a stack a line.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(stack, count)| format!("{stack} {count}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn merged<'a>(texts: impl IntoIterator<Item = &'a String>) -> Folded {
        let mut folded = Folded::default();
        texts.into_iter().for_each(|text| folded.add(text).unwrap());
        folded
    }

    #[test]
    fn the_same_stack_on_two_nodes_is_one() {
        let folded = merged(&["main;read 2\nmain 1\n".to_owned(), "main;read 3".to_owned()]);
        assert_eq!(folded.lines().collect::<Vec<_>>(), ["main 1", "main;read 5"]);
    }

    #[test]
    fn a_symbol_may_hold_blanks() {
        let folded = merged(&["app;operator new(unsigned long) 4".to_owned()]);
        assert_eq!(folded.lines().collect::<Vec<_>>(), ["app;operator new(unsigned long) 4"]);
    }

    #[test]
    fn a_wrong_line_is_named_and_leaves_nothing_behind() {
        let mut folded = Folded::default();
        let error = folded.add("main 1\nmain;read many\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not a folded stack: \"main;read many\"");
        assert_eq!(folded, Folded::default());
    }

    fn node() -> impl Strategy<Value = String> {
        vec(("[ab](;[ab ]{1,3}){0,3}x", 0u64..1_000_000), 0..8)
            .prop_map(|stacks| stacks.into_iter().map(|(stack, count)| format!("{stack} {count}\n")).collect())
    }

    proptest! {
        #[test]
        fn no_sample_is_lost_or_made_up(nodes in vec(node(), 0..5)) {
            let sum: u64 = nodes.iter().map(|node| merged([node]).samples()).sum();
            prop_assert_eq!(merged(&nodes).samples(), sum);
        }

        #[test]
        fn the_order_of_nodes_does_not_matter(nodes in vec(node(), 0..5), turn in 0usize..5) {
            let mut turned = nodes.clone();
            turned.rotate_left(turn.min(nodes.len()));
            prop_assert_eq!(merged(&nodes), merged(&turned));
        }

        #[test]
        fn what_was_written_is_read_again(node in node()) {
            let folded = merged([&node]);
            let text = folded.lines().collect::<Vec<_>>().join("\n");
            prop_assert_eq!(merged([&text]), folded);
        }
    }
}
